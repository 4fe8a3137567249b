package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

func TestTheExitCodeTellsTheSignal(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for sig, want := range map[os.Signal]int{os.Interrupt: 130, syscall.SIGTERM: 143} {
		ctx, stop := signal.NotifyContext(t.Context(), sig)
		if err := self.Signal(sig); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		if got := signalCode(ctx); got != want {
			t.Errorf("%v: code %d", sig, got)
		}
		stop()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := signalCode(ctx); got != 130 {
		t.Errorf("without a signal: code %d", got)
	}
}
