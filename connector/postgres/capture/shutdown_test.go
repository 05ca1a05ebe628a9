package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestShutdownWithBlockedSink: a server that shuts down is not held up by a sink
// that takes nothing, and nothing is lost by that (P1, P7).
func TestShutdownWithBlockedSink(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		const rows = 50_000
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		r := openReader(t, src, from)
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, %d) i", rows))
		got := &captured{}
		got.take(t, read(t, r)) // and no more
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			t.Fatalf("the server did not stop: %v", err)
		}
		t.Logf("the server stopped within %s", time.Since(began).Round(time.Millisecond))
		if err := readUntilError(t, r); !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "shuts down") {
			t.Errorf("the session ended with %v, want a retryable error that says why", err)
		}
		r.Close()
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rest := captureNow(t, src, from); len(rest.lines) != rows {
			t.Errorf("after the restart came %d changes, want %d", len(rest.lines), rows)
		}
	})
}

// TestWatchIsEnded: that somebody ends the connection beside the stream does not
// end the stream.
func TestWatchIsEnded(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		r := openReader(t, src, createSlot(t, src))
		watch := fmt.Sprintf("FROM pg_stat_activity WHERE application_name = 'entrain_%s_watch'", src.cfg.Pipeline)
		first := pgtest.QueryOne(t, url, "SELECT pid "+watch)
		pgtest.Exec(t, url, "SELECT pg_terminate_backend("+first+")")
		pgtest.Eventually(t, sourcePatience, "another one watches", func() bool {
			return pgtest.QueryOne(t, url, "SELECT coalesce(max(pid), 0) "+watch+" AND pid <> "+first) != "0"
		})
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'still there')")
		captureLines(t, r, 1)
	})
}

// TestLeave: a session whose server shuts down may go on as long as it makes
// progress, but not for ever. What it says of that is true.
func TestLeave(t *testing.T) {
	const rest, nothing = "level=WARN msg=\"the source shuts down while not everything that was read", "level=INFO msg=\"the source shuts down; everything that was read is delivered"
	cases := []struct {
		name        string
		steps       int // so many seconds it makes progress
		read        lsn
		least, most time.Duration
		said        string
	}{
		{"stalled", 0, 1, leaveStep, leaveStep, rest},
		{"nothing left", 0, 0, leaveStep, leaveStep, nothing},
		{"for a while", 3, 4, 4 * time.Second, 5 * time.Second, rest},
		{"to the end", 3, 3, 4 * time.Second, 5 * time.Second, nothing},
		{"for ever", 1000, 1000, leaveLimit, leaveLimit, rest},
	}
	for _, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var ended error
			var said strings.Builder
			w := &slotWatch{cfg: Config{Log: slog.New(slog.NewTextHandler(&said, nil))}}
			w.confirmed = func() lsn { return lsn(min(int(time.Since(began)/time.Second), c.steps)) }
			w.read = func() lsn { return c.read }
			w.giveUp = func(err error) { ended = err }
			w.leave(t.Context())
			if took := time.Since(began); took < c.least || took > c.most {
				t.Errorf("%s: it took %s", c.name, took)
			}
			if !errors.Is(ended, entrain.ErrDisconnected) {
				t.Errorf("%s: the session was ended with %v", c.name, ended)
			}
			if !strings.Contains(said.String(), c.said) {
				t.Errorf("%s: said %s", c.name, &said)
			}
		})
	}
}

// TestRead: what was read is as far as the last change that was handed out; a
// part of a transaction is behind all that can be confirmed.
func TestRead(t *testing.T) {
	r := &reader{asm: &assembler{handed: 70}}
	for _, c := range []struct {
		b    *entrain.Batch
		want uint64
	}{
		{nil, 0},
		{&entrain.Batch{Through: entrain.Position{Offset: "x"}}, 0}, // an idle position
		{&entrain.Batch{Events: make([]entrain.Event, 1), Through: entrain.Position{Offset: "x"}}, 70},
		{&entrain.Batch{Events: make([]entrain.Event, 1)}, 71},
	} {
		r.noted(c.b)
		if got := r.read.Load(); got != c.want {
			t.Errorf("read %d, want %d", got, c.want)
		}
	}
}

// TestShutdownIsNoticedWithoutConnection: a watch that has no connection when the
// server begins to shut down notices it when it next wants one.
func TestShutdownIsNoticedWithoutConnection(t *testing.T) {
	for name, heartbeat := range map[string]time.Duration{"look": 0, "heartbeat": 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			server, err := pgconn.ParseConfig("host=127.0.0.1 user=u dbname=x sslmode=disable")
			if err != nil {
				t.Fatal(err)
			}
			server.DialFunc = refuseNewcomers
			gone := make(chan error, 1)
			w := &slotWatch{cfg: Config{Log: slog.New(slog.DiscardHandler), Heartbeat: heartbeat}, server: server}
			w.confirmed, w.read = func() lsn { return 0 }, func() lsn { return 0 }
			w.giveUp = func(err error) { gone <- err }
			w.start(t.Context())
			select {
			case err := <-gone:
				if !errors.Is(err, entrain.ErrDisconnected) {
					t.Errorf("%s: %v", name, err)
				}
				w.wg.Wait() // it has left by itself
			case <-time.After(watchInterval + 2*leaveStep):
				t.Errorf("%s: the session holds the server's shutdown up", name)
			}
			w.close()
		})
	}
}

// refuseNewcomers is a server that shuts down.
func refuseNewcomers(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		server := pgproto3.NewBackend(theirs, theirs)
		if _, err := server.ReceiveStartupMessage(); err == nil {
			server.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: stateCannotConnect, Message: "the database system is shutting down"})
			_ = server.Flush()
		}
	}()
	return ours, nil
}
