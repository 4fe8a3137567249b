//go:build linux

package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// freePorts finds ports of loopback. They are below those that the system gives to
// outgoing connections: while a node is down, a client must not get its port.
func freePorts(n int) ([]string, error) {
	var out []string
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range 100 * n {
		if len(out) == n {
			return out, nil
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(17000)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, l)
		out = append(out, addr)
	}
	return nil, errors.New("no free ports")
}
