//go:build !linux

package blockconn

import (
	"net"
	"time"
)

// Take returns c as it is: blocking calls are used on Linux only.
func Take(c net.Conn) (net.Conn, error) { return c, nil }

// Napper is a connection that can wait for less than timers can.
type Napper interface {
	Nap(d time.Duration)
}
