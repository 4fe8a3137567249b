package netx

import (
	"context"
	"io"
	"net"
)

// Net makes listeners and connections. network and addr are those of package net.
type Net interface {
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
}

// OS returns the network of the machine.
func OS() Net { return osNet{} }

type osNet struct{}

func (osNet) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, network, addr)
}

func (osNet) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// Source is a file that a range can be sent from; vfs.File is one.
type Source interface {
	io.ReaderAt
	// Fd returns the descriptor, and false if there is none. It must stay valid while the range is sent.
	Fd() (uintptr, bool)
}

// ReadReady is Socket.ReadReady for a caller that has no Socket.
func ReadReady(conn net.Conn, getBuf func() []byte) (int, error) {
	return NewSocket(conn).ReadReady(getBuf, nil)
}
