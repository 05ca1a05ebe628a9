package campaign

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// weather is what a network does to what passes through a [door]. The zero value does
// nothing.
type weather struct {
	// delay and up to jitter more go by before each piece. What is behind it waits, too.
	delay, jitter time.Duration
	// piece is the most bytes that pass at once; 0: as they come.
	piece int
	// rate is how many bytes pass a second; 0: all.
	rate int
	// hole: nothing passes, and nobody is told. What is held passes later.
	hole bool
}

// door is a proxy in front of a server, in which the faults of a network are made. Its
// methods may be called from several goroutines.
type door struct {
	to       string
	listener net.Listener
	ctx      context.Context
	wg       sync.WaitGroup

	mu      sync.Mutex
	weather weather
	changed chan struct{} // closed when the weather changes
	pairs   map[*pair]struct{}
}

// pair is one connection: of the program's side and the server's.
type pair struct{ program, server *net.TCPConn }

// newDoor opens a door on a free port of host. It is shut with the test.
func newDoor(t testing.TB, host, to string) *door {
	t.Helper()
	d := &door{to: to, changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	for range 50 {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(host), Port: throwaway.RandomPort()})
		if err == nil {
			d.listener = l
			break
		}
	}
	if d.listener == nil {
		t.Fatalf("no free port on %s", host)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.ctx = ctx
	d.wg.Go(d.serve)
	t.Cleanup(func() {
		cancel()
		d.listener.Close()
		d.reset()
		d.wg.Wait()
	})
	return d
}

func (d *door) addr() string { return d.listener.Addr().String() }

// through is a URL that leads to the same server by this door.
func (d *door) through(url string) string { return strings.Replace(url, d.to, d.addr(), 1) }

func (d *door) serve() {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() { d.connect(c.(*net.TCPConn)) })
	}
}

// connect leads one connection through.
func (d *door) connect(c *net.TCPConn) {
	var dialer net.Dialer
	s, err := dialer.DialContext(d.ctx, "tcp", d.to)
	if err != nil {
		slam(c)
		return
	}
	p := &pair{program: c, server: s.(*net.TCPConn)}
	d.mu.Lock()
	d.pairs[p] = struct{}{}
	d.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { d.pump(p.program, p.server) })
	both.Go(func() { d.pump(p.server, p.program) })
	if d.ctx.Err() != nil { // it was too late to be reset
		p.slam()
	}
	both.Wait()
	d.mu.Lock()
	delete(d.pairs, p)
	d.mu.Unlock()
	p.program.Close()
	p.server.Close()
}

// pump brings what one side says to the other.
func (d *door) pump(from, to *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !d.pass(to, buf[:n]) {
			from.Close()
			return
		}
		if err == io.EOF {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			slam(to)
			return
		}
	}
}

// pass writes as the weather allows and reports whether all was written.
func (d *door) pass(to *net.TCPConn, b []byte) bool {
	for len(b) > 0 {
		w := d.wait()
		n := len(b)
		if w.piece > 0 {
			n = min(n, w.piece)
		}
		if d.ctx.Err() != nil {
			return false
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		if w.rate > 0 {
			wait(d.ctx, time.Duration(n)*time.Second/time.Duration(w.rate))
		}
		b = b[n:]
	}
	return true
}

// wait returns when a piece may pass, and how.
func (d *door) wait() weather {
	for {
		d.mu.Lock()
		w, changed := d.weather, d.changed
		d.mu.Unlock()
		if !w.hole {
			if long := w.delay + time.Duration(rand.Int64N(int64(w.jitter)+1)); long > 0 {
				wait(d.ctx, long)
			}
			return w
		}
		select {
		case <-changed:
		case <-d.ctx.Done():
			return w
		}
	}
}

// set makes the weather.
func (d *door) set(w weather) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.weather = w
	close(d.changed)
	d.changed = make(chan struct{})
}

// reset ends all connections by RST, at both sides.
func (d *door) reset() {
	for _, p := range d.open() {
		p.slam()
	}
}

// halfClose tells one side of each connection that nothing more comes; the other
// direction goes on.
func (d *door) halfClose(at side) {
	for _, p := range d.open() {
		if at == programsSide {
			_ = p.program.CloseWrite()
		} else {
			_ = p.server.CloseWrite()
		}
	}
}

// side is one of the two sides of a door.
type side string

const (
	programsSide side = "program"
	serversSide  side = "server"
)

func (d *door) open() []*pair {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*pair
	for p := range d.pairs {
		all = append(all, p)
	}
	return all
}

func (p *pair) slam() {
	slam(p.program)
	slam(p.server)
}

// slam closes by RST.
func slam(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
