package capture

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestHeartbeat: heartbeats move the position and the slot where nothing else
// happens, and never reach the sink; other messages with their prefix do (P1, P7).
func TestHeartbeat(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		cfg := sourceConfig(t, url)
		cfg.Heartbeat = leastHeartbeat
		src := mustSource(t, cfg)
		from := createSlot(t, src)
		r := openReader(t, src, from)
		got := &captured{}
		for len(got.positions) < 2 {
			got.take(t, read(t, r))
		}
		if len(got.lines) != 0 || placeOf(t, got.positions[1]) <= placeOf(t, got.positions[0]) {
			t.Errorf("positions %v with %q", got.positions, got.lines)
		}
		if err := r.Ack(t.Context(), got.last(t)); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, sourcePatience, "the slot moves", func() bool {
			return confirmedFlush(t, url, cfg.Slot) >= placeOf(t, got.last(t))
		})
		pgtest.Exec(t, url, "BEGIN; SELECT pg_logical_emit_message(true, 'entrain', 'other'); INSERT INTO t VALUES (1, 'one'); "+writeHeartbeat+"; COMMIT",
			"SELECT pg_logical_emit_message(false, 'entrain', 'heartbeat')")
		lines := captureLines(t, r, 3).lines
		for i, want := range []string{`"content":"other"`, `"one"`, `"content":"heartbeat"`} {
			if !strings.Contains(lines[i], want) {
				t.Errorf("event %d is %s, want %s", i, lines[i], want)
			}
		}
	})
}

// TestIdleHeartbeat: PF-05. While a neighbour database is busy, the slot of an
// idle one lets go of the log (P7).
func TestIdleHeartbeat(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable, "CREATE DATABASE neighbour")
		pgtest.Exec(t, srv.URL("neighbour"), oneTable)
		cfg := sourceConfig(t, url)
		cfg.Heartbeat = leastHeartbeat
		src := mustSource(t, cfg)
		r := openReader(t, src, createSlot(t, src))
		ctx, cancel := context.WithCancel(t.Context())
		done := pump(ctx, r)
		stop := keepBusy(t, srv.URL("neighbour"))
		target := placeOfServer(t, url)
		pgtest.Eventually(t, time.Minute, "the slot lets go", func() bool {
			pgtest.Exec(t, url, "CHECKPOINT") // it logs what runs, as time does every 15 s
			return pgtest.QueryOne(t, url, fmt.Sprintf("SELECT restart_lsn > '%s' FROM pg_replication_slots", target)) == "t"
		})
		stop()
		cancel()
		<-done
	})
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// TestHeartbeatRefused: a server that takes no heartbeat is told of once, and the
// tries go on; when it takes them later, they are written.
func TestHeartbeatRefused(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		var log lockedBuffer
		role := pgtest.Name(t)
		pgtest.Exec(t, url, "CREATE ROLE "+role+" LOGIN REPLICATION",
			"REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text"+extraArgument(t, url)+") FROM PUBLIC")
		cfg := sourceConfig(t, asUser(t, url, role))
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		cfg.Heartbeat = leastHeartbeat
		sess, err := mustSource(t, cfg).connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer sess.close(t.Context())
		w := newSlotWatch(sess)
		defer w.hangUp(t.Context())
		for range 3 {
			w.beat(t.Context())
		}
		if n := log.count("cannot write the heartbeat"); n != 1 {
			t.Errorf("%d lines about refused heartbeats, want 1", n)
		}
		pgtest.Exec(t, url, "ALTER ROLE "+role+" SUPERUSER")
		w.beat(t.Context())
		if w.mute {
			t.Error("a heartbeat that was taken did not end the refusals")
		}
	})
}

// extraArgument is what the function has from version 17 on.
func extraArgument(t *testing.T, url string) string {
	t.Helper()
	if pgtest.QueryOne(t, url, "SELECT current_setting('server_version_num')::int >= 170000") == "t" {
		return ", boolean"
	}
	return ""
}
