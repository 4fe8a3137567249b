package bufpool

import (
	"sync"
	"testing"
)

func TestClasses(t *testing.T) {
	for _, tc := range []struct{ n, size int }{
		{0, 512}, {1, 512}, {512, 512}, {513, 768}, {768, 768}, {769, 1024}, {1024, 1024}, {1025, 1536},
		{16384, 16384}, {16454, 24576}, {24577, 32768}, {1 << 20, 1 << 20}, {1<<20 + 1, 3 << 19},
		{3<<20 + 1, 4 << 20}, {4 << 20, 4 << 20}, {4<<20 + 1, 4<<20 + 1}, {10 << 20, 10 << 20},
	} {
		b := Get(tc.n)
		if len(b.B) != tc.n || b.Cap() != tc.size {
			t.Errorf("Get(%d): len %d, size %d, want %d", tc.n, len(b.B), b.Cap(), tc.size)
		}
		b.Release()
	}
	for class := range numClasses {
		size := classSize(class)
		if classOf(size) != class || class > 0 && classOf(classSize(class-1)+1) != class {
			t.Errorf("class %d of size %d does not hold its own sizes", class, size)
		}
	}
	if classSize(0) != MinPooled || classSize(numClasses-1) != MaxPooled {
		t.Fatal("the classes do not span the pooled sizes")
	}
}

func TestReferences(t *testing.T) {
	b := Get(100)
	b.B[0] = 7
	b.Retain()
	b.Release()
	if b.B == nil || b.B[0] != 7 {
		t.Fatal("the buffer went back while a reference was held")
	}
	b.Release()
	if b.B != nil {
		t.Fatal("the buffer was kept after the last release")
	}
}

func TestBytes(t *testing.T) {
	b := Get(10)
	defer b.Release()
	copy(b.B, "0123456789")
	b.B = b.B[5:]
	if whole := b.Bytes(20); len(whole) != 20 || string(whole[:10]) != "0123456789" {
		t.Fatalf("whole buffer %q", whole)
	}
}

// TestNoSharing checks that no two holders ever have the same buffer.
func TestNoSharing(t *testing.T) {
	var done sync.WaitGroup
	for g := range 4 {
		done.Go(func() {
			for i := range 2000 {
				b := Get(i % 3000)
				for j := range b.B {
					b.B[j] = byte(g)
				}
				for j := range b.B {
					if b.B[j] != byte(g) {
						t.Errorf("another holder wrote into the buffer")
						return
					}
				}
				b.Release()
			}
		})
	}
	done.Wait()
}

func BenchmarkGetRelease(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Get(16 << 10).Release()
	}
}
