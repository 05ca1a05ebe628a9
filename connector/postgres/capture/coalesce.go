package capture

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain/connector/postgres/blockconn"
)

// coalescer is a connection that reads large pieces and, while it is told that
// the session is behind, waits a little between reads. The server sends every
// change as a small write of its own; a reader that is always there takes each
// as a small segment, which costs both ends more than decoding does. When the
// reader pauses until the receive window is full, the pending writes merge into
// full segments. docs/adr/0004 has the figures.
type coalescer struct {
	net.Conn
	buf  []byte // bytes buf[from:to] are read but not handed out
	from int
	to   int

	narrow bool             // the receive window is small enough to fill during a wait
	unix   bool             // writes do not merge
	napper blockconn.Napper // nil if the connection cannot nap
	last   int              // bytes of the last read
	pace   pacer
	behind atomic.Bool

	closeOnce sync.Once
	closed    chan struct{}
}

const (
	// readBuffer is how much one read can take.
	readBuffer = 256 << 10
	// largeRead is what is read straight into the caller's memory: room for all
	// that a narrow connection holds.
	largeRead = receiveWindow
	// receiveWindow is what the kernel may hold for a narrow connection: what
	// a server decodes in one or two milliseconds, so that a short wait fills
	// it. Left to itself the kernel lets it grow to megabytes.
	receiveWindow = 128 << 10
	// nearby is the round trip up to which a narrow window does not limit the
	// rate: 128 KB in 2 ms are 64 MB/s.
	nearby = 2 * time.Millisecond
	// Unix sockets do not merge writes. A short nap lets some gather, so that
	// a reader is not woken for each; a longer one would find the socket full,
	// which holds a few hundred writes, and the server waiting.
	nap = 100 * time.Microsecond
	// napBelow is a read that was hardly worth its while.
	napBelow = 16 << 10
)

func newCoalescer(conn net.Conn) *coalescer {
	return &coalescer{Conn: conn, closed: make(chan struct{})}
}

// tune prepares a connection for a stream. A TCP connection with a short round
// trip becomes a narrow one; a distant server needs the window.
func (c *coalescer) tune(roundTrip time.Duration) {
	c.napper, _ = c.Conn.(blockconn.Napper)
	if c.unix = c.RemoteAddr().Network() == "unix"; c.unix {
		return
	}
	tcp, ok := c.Conn.(interface{ SetReadBuffer(bytes int) error })
	if ok && roundTrip <= nearby {
		c.narrow = tcp.SetReadBuffer(receiveWindow) == nil
	}
}

// Read implements net.Conn. It is for one goroutine.
func (c *coalescer) Read(p []byte) (int, error) {
	if c.from == c.to {
		switch {
		case !c.behind.Load():
		case c.narrow:
			c.wait()
		case c.unix && c.napper != nil && c.last < napBelow:
			c.napper.Nap(nap)
		}
		if len(p) >= largeRead {
			return c.receive(p)
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
	n, err := c.receive(c.buf)
	c.from, c.to = 0, n
	return err
}

// receive reads once from the network; an error comes without bytes.
func (c *coalescer) receive(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.last = n
	if n > 0 {
		c.pace.read(n)
		return n, nil
	}
	return 0, err
}

// wait lets the server's writes merge; Close ends it early.
func (c *coalescer) wait() {
	d := c.pace.step(time.Now())
	switch {
	case d == 0:
		return
	case c.napper != nil:
		c.napper.Nap(d) // a timer's unit is a millisecond
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
// value. The wait follows the server: a read that found the window full allows
// a shorter one, any other asks for a longer one. Waiting as such is kept only
// while it pays: from time to time plain reading is tried, and the way with
// more bytes per second stays. The zero value waits.
type pacer struct {
	pause time.Duration // the next wait; 0 means first use
	small int           // reads below smallRead in a row

	way   int        // of this phase: waiting or plain
	trial bool       // the phase is a short one, to measure the other way
	began time.Time  // of the phase
	bytes int64      // read since the phase began
	rate  [2]float64 // bytes per second of the last phase of each way
}

// The ways of reading.
const (
	waiting = iota
	plain
)

const (
	firstPause = time.Millisecond
	leastPause = 250 * time.Microsecond
	mostPause  = 3 * time.Millisecond
	fullRead   = receiveWindow * 9 / 10

	smallRead  = 32 << 10
	smallReads = 16                    // in a row: the server is ahead of the window again
	longPause  = 10 * time.Millisecond // to get ahead of it

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
	if n >= fullRead {
		p.pause = max(p.pause-p.pause/16, leastPause)
	} else {
		p.pause = min(p.pause+p.pause/4, mostPause)
	}
}

// step returns how long to wait before the next read.
func (p *pacer) step(now time.Time) time.Duration {
	p.phase(now)
	switch {
	case p.way == plain:
		return 0
	case p.small >= smallReads:
		p.small = 0
		return longPause
	}
	return p.pause
}

// phase ends a phase that has lasted long enough and chooses the next one.
func (p *pacer) phase(now time.Time) {
	length := settledPhase
	if p.trial {
		length = trialPhase
	}
	elapsed := now.Sub(p.began)
	switch {
	case elapsed < length:
		return
	case p.began.IsZero() || elapsed > 2*settledPhase:
		*p = pacer{began: now, pause: firstPause} // it was not behind for a while
		return
	}
	p.rate[p.way] = float64(p.bytes) / elapsed.Seconds()
	p.bytes, p.began, p.trial = 0, now, !p.trial
	if p.trial {
		p.way = 1 - p.way
		return
	}
	p.way = waiting
	if p.rate[plain] > p.rate[waiting] {
		p.way = plain
	}
}
