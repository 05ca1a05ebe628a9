package blockconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Napper is a connection that can wait for less than timers can.
type Napper interface {
	// Nap waits for about that long, and at least the 50 µs that the kernel
	// adds. Close and a deadline for reading that has passed end it early.
	Nap(d time.Duration)
}

// conn is a net.Conn over a socket of its own that no poller knows. Its
// invariants: no descriptor is used after it was closed, since who uses one
// holds inUse; a byte is in the pipe wake, or will be, whenever somebody has
// to look at closed and readBy again.
type conn struct {
	fd            int
	local, remote net.Addr

	readBy, writeBy atomic.Int64 // deadlines in ns behind began, 0 for none
	closed          atomic.Bool
	waiting         atomic.Bool // a Read or a Nap waits for wake
	wake            [2]int      // a pipe
	inUse           sync.RWMutex
}

// Take moves the socket of c, a TCP or Unix connection without buffered data,
// out of Go's network poller: it returns a connection to use instead, and
// closes c. What it returns follows net.Conn, for one reading and one writing
// goroutine at a time, and is a [Napper]. A connection without a socket of its
// own is returned as it is. After an error c is as it was.
func Take(c net.Conn) (net.Conn, error) {
	owner, ok := c.(syscall.Conn)
	if !ok {
		return c, nil
	}
	raw, err := owner.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take the socket over: %w", err)
	}
	b := &conn{local: c.LocalAddr(), remote: c.RemoteAddr()}
	if err := syscall.Pipe2(b.wake[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("take the socket over: pipe: %w", err)
	}
	failed := raw.Control(func(fd uintptr) { b.fd, err = duplicate(fd) })
	if err := errors.Join(failed, err); err != nil {
		b.closePipe()
		return nil, fmt.Errorf("take the socket over: %w", err)
	}
	_ = c.Close() // the socket lives on
	return b, nil
}

// duplicate returns a second descriptor of a socket; closing the first one takes
// the socket out of the poller but does not end it.
func duplicate(fd uintptr) (int, error) {
	const dup = syscall.F_DUPFD_CLOEXEC
	second, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, dup, 0)
	if errno != 0 {
		return 0, fmt.Errorf("duplicate: %w", errno)
	}
	return int(second), nil
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	for {
		if err := c.state(&c.readBy); err != nil {
			return 0, err
		}
		n, err := syscall.Read(c.fd, p)
		switch {
		case n > 0 || err == nil && len(p) == 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EAGAIN:
			c.await()
		case err != syscall.EINTR:
			return 0, &net.OpError{Op: "read", Net: c.remote.Network(), Addr: c.remote, Err: os.NewSyscallError("read", err)}
		}
	}
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	done := 0
	for done < len(p) {
		if err := c.state(&c.writeBy); err != nil {
			return done, err
		}
		n, err := syscall.SendmsgN(c.fd, p[done:], nil, nil, syscall.MSG_NOSIGNAL)
		done += max(n, 0)
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			// Close has to wait no longer than this for a peer that takes nothing.
			soon := min(remaining(c.writeBy.Load()), writeCheck)
			poll([]pollFD{{fd: int32(c.fd), events: pollOut}}, soon)
		default:
			return done, &net.OpError{Op: "write", Net: c.remote.Network(), Addr: c.remote, Err: os.NewSyscallError("write", err)}
		}
	}
	return done, nil
}

// writeCheck is how often a blocked Write looks whether the connection is
// closed, or its deadline was changed.
const writeCheck = 100 * time.Millisecond

// Nap implements [Napper].
func (c *conn) Nap(d time.Duration) {
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	if c.state(&c.readBy) == nil {
		poll([]pollFD{{fd: int32(c.wake[0]), events: pollIn}}, d)
	}
}

// state returns why a call with the deadline cannot go on, if so.
func (c *conn) state(by *atomic.Int64) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if at := by.Load(); at != 0 && int64(time.Since(began)) >= at {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// await waits until there is something to read or the deadline has come. It
// looks at the state after it has announced itself: whoever changes that later
// finds it waiting and wakes it.
func (c *conn) await() {
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	if c.state(&c.readBy) != nil {
		return
	}
	fds := [...]pollFD{{fd: int32(c.fd), events: pollIn}, {fd: int32(c.wake[0]), events: pollIn}}
	poll(fds[:], remaining(c.readBy.Load()))
	if fds[1].revents == 0 || c.closed.Load() {
		return // what Close has written stays, for whoever else waits
	}
	var woken [16]byte
	_, _ = syscall.Read(c.wake[0], woken[:])
}

// remaining is the time until a deadline, as far as a wait goes.
func remaining(by int64) time.Duration {
	const long = time.Hour
	if by == 0 {
		return long
	}
	return min(max(0, time.Duration(by)-time.Since(began)), long)
}

// interrupt makes a waiting Read or Nap look at the state again. A full pipe
// does that, too.
func (c *conn) interrupt() {
	if c.waiting.Load() {
		_, _ = syscall.Write(c.wake[1], []byte{0})
	}
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	c.readBy.Store(mark(t))
	c.interrupt()
	return nil
}

// SetWriteDeadline implements net.Conn. A Write that is under way may see it
// a little late.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	c.writeBy.Store(mark(t))
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// began is what deadlines are counted from: by the monotonic clock, since the time of
// day may be set meanwhile, which would end all calls or none for hours.
var began = time.Now()

// mark is a deadline in ns behind [began]; 0 for none. Times of long ago, which mean
// "at once", are 1.
func mark(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, int64(t.Sub(began)))
}

// Close implements net.Conn: calls under way return net.ErrClosed.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	_, _ = syscall.Write(c.wake[1], []byte{0})
	c.inUse.Lock()
	defer c.inUse.Unlock()
	c.closePipe()
	return syscall.Close(c.fd)
}

func (c *conn) closePipe() {
	_ = syscall.Close(c.wake[0])
	_ = syscall.Close(c.wake[1])
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetReadBuffer sets the size of the operating system's receive buffer, as
// net.TCPConn does.
func (c *conn) SetReadBuffer(bytes int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes))
}

// pollFD is struct pollfd of poll(2).
type pollFD struct {
	fd              int32
	events, revents int16
}

// Events of poll(2), the same on all architectures of Linux that Go runs on.
const (
	pollIn  = 1
	pollOut = 4
)

// poll waits until a descriptor is ready, a signal comes or the time is up.
func poll(fds []pollFD, atMost time.Duration) {
	ts := syscall.NsecToTimespec(int64(atMost))
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}
