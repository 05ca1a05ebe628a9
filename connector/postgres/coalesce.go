package postgres

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// coalescer is a connection that reads large pieces and, while it is told that
// the session is behind, waits a little between reads. The server sends every
// change as a small write of its own; a reader that is always there takes each
// as a small segment, which costs both ends more than decoding does. When the
// reader pauses, the receive window closes and the pending writes merge into
// full segments. docs/benchmarks.md has the figures.
type coalescer struct {
	net.Conn
	buf  []byte // bytes buf[from:to] are read but not handed out
	from int
	to   int

	pace   pacer
	behind atomic.Bool

	closeOnce sync.Once
	closed    chan struct{}
}

// readBuffer is how much one read can take.
const readBuffer = 256 << 10

func newCoalescer(conn net.Conn) *coalescer {
	return &coalescer{Conn: conn, closed: make(chan struct{})}
}

// Read implements net.Conn. It is for one goroutine.
func (c *coalescer) Read(p []byte) (int, error) {
	if c.from == c.to {
		if c.behind.Load() {
			c.wait()
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf[c.from:c.to])
	c.from += n
	return n, nil
}

func (c *coalescer) fill() error {
	if c.buf == nil {
		c.buf = make([]byte, readBuffer)
	}
	n, err := c.Conn.Read(c.buf)
	c.from, c.to = 0, n
	if n > 0 {
		c.pace.read(n)
		return nil
	}
	return err
}

// wait lets the server's writes merge; Close ends it early.
func (c *coalescer) wait() {
	d := c.pace.step(time.Now())
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.closed:
	}
}

// Close implements net.Conn.
func (c *coalescer) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// pacer decides how long to wait before a read. It is pure: time comes in as a
// value. Waiting is kept only while it pays: it measures bytes per second with
// and without, and tries the other way from time to time.
type pacer struct {
	small   int   // reads below smallRead in a row
	bytes   int64 // read since the phase began
	began   time.Time
	way     int        // of this phase: waiting or plain
	settled bool       // the last trial was decided; the phase is a long one
	rate    [2]float64 // bytes per second of the last phase of each way
}

// The ways of reading.
const (
	waiting = iota
	plain
)

const (
	shortWait  = time.Millisecond
	longWait   = 10 * time.Millisecond
	smallRead  = 32 << 10
	smallReads = 16 // in a row: the server is ahead of the window again

	trialPhase   = 150 * time.Millisecond
	settledPhase = 10 * time.Second
)

// read notes what a read returned.
func (p *pacer) read(n int) {
	p.bytes += int64(n)
	if n < smallRead {
		p.small++
	} else {
		p.small = 0
	}
}

// step returns how long to wait before the next read.
func (p *pacer) step(now time.Time) time.Duration {
	p.phase(now)
	if p.way == plain {
		return 0
	}
	if p.small >= smallReads {
		p.small = 0
		return longWait
	}
	return shortWait
}

// phase ends a measured phase and chooses the next one.
func (p *pacer) phase(now time.Time) {
	length := trialPhase
	if p.settled {
		length = settledPhase
	}
	elapsed := now.Sub(p.began)
	if elapsed < length {
		return
	}
	if p.began.IsZero() || elapsed > 2*settledPhase {
		*p = pacer{began: now} // first use, or the session was not behind for a while
		return
	}
	p.rate[p.way] = float64(p.bytes) / elapsed.Seconds()
	p.bytes, p.began = 0, now
	if p.settled || p.rate[plain] == 0 {
		p.way, p.settled = 1-p.way, false // try the other way
		return
	}
	p.way, p.settled = waiting, true
	if p.rate[plain] > p.rate[waiting] {
		p.way = plain
	}
}
