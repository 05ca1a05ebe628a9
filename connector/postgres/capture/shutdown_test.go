package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
// progress, but not for ever.
func TestLeave(t *testing.T) {
	cases := []struct {
		name        string
		steps       int // so many seconds it makes progress
		least, most time.Duration
	}{
		{"stalled", 0, leaveStep, leaveStep},
		{"for a while", 3, 4 * time.Second, 5 * time.Second},
		{"for ever", 1000, leaveLimit, leaveLimit},
	}
	for _, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var ended error
			w := &slotWatch{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
			w.confirmed = func() lsn { return lsn(min(int(time.Since(began)/time.Second), c.steps)) }
			w.giveUp = func(err error) { ended = err }
			w.leave(t.Context())
			if took := time.Since(began); took < c.least || took > c.most {
				t.Errorf("%s: it took %s", c.name, took)
			}
			if !errors.Is(ended, entrain.ErrDisconnected) {
				t.Errorf("%s: the session was ended with %v", c.name, ended)
			}
		})
	}
}
