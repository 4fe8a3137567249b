//go:build !linux

package netx

// sendMapped leaves everything to be written and copied.
func (s *Socket) sendMapped(head [][]byte, fd int, off int64, n int) (sent int, mapped bool, err error) {
	return 0, false, nil
}
