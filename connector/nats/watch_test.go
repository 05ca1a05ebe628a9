package nats

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// pipe passes connections on to a server until it is told to be silent: then it takes
// everything and passes nothing on, as a network does that was cut.
type pipe struct {
	silent atomic.Bool
	mu     sync.Mutex
	open   []net.Conn
	wg     sync.WaitGroup
}

// newPipe returns a pipe to the server at a URL, and its own URL.
func newPipe(t *testing.T, to string) (*pipe, string) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.pass(conn, strings.TrimPrefix(to, "nats://"))
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p, "nats://" + l.Addr().String()
}

func (p *pipe) pass(conn net.Conn, to string) {
	other, err := net.Dial("tcp", to)
	if err != nil {
		conn.Close()
		return
	}
	p.mu.Lock()
	p.open = append(p.open, conn, other)
	p.mu.Unlock()
	p.wg.Go(func() { _, _ = io.Copy(muted{conn, p}, other) })
	p.wg.Go(func() { _, _ = io.Copy(muted{other, p}, conn) })
}

// muted writes nothing while the pipe is silent.
type muted struct {
	io.Writer
	p *pipe
}

func (m muted) Write(b []byte) (int, error) {
	if m.p.silent.Load() {
		return len(b), nil
	}
	return m.Writer.Write(b)
}

// lost waits for what an idle session says of itself.
func lost(t *testing.T, w entrain.Writer, within time.Duration) error {
	t.Helper()
	select {
	case err := <-w.(entrain.Watcher).Lost():
		return err
	case <-time.After(within):
		t.Fatalf("nothing is said within %s", within)
		return nil
	}
}

// TestIdleSessionIsLost: sessions that write nothing notice within seconds that their
// server is gone or does not answer any more, and another one may be luckier; one whose
// server is there says nothing.
func TestIdleSessionIsLost(t *testing.T) {
	for name, cut := range map[string]func(p *pipe, end func()){
		"the server ends":     func(_ *pipe, end func()) { end() },
		"the network is cut":  func(p *pipe, _ func()) { p.silent.Store(true) },
		"it is there, closed": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := newElsewhere(t)
			p, url := newPipe(t, at.url)
			through := &elsewhere{url: url}
			log, err := takenOver(t, newServerLog(t, ServerConfig{URL: url}))
			if err != nil {
				t.Fatal(err)
			}
			sink, _ := openSink(t, newSink(t, through, SinkConfig{}))
			if cut == nil {
				time.AfterFunc(2*lookEvery, func() { sink.Close(); log.Close() })
				said := time.After(2*lookEvery + time.Second)
				select {
				case err := <-sink.Lost():
					t.Error(err)
				case err := <-log.(entrain.Watcher).Lost():
					t.Error(err)
				case <-said:
				}
				return
			}
			cut(p, at.end)
			for _, w := range []entrain.Writer{log, sink} {
				if err := lost(t, w, lookEvery+lookTimeout+2*time.Second); !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "the connection to NATS at "+url+" is lost") {
					t.Errorf("it says %v", err)
				}
			}
		})
	}
}
