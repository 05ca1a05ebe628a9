package capture

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestStopWalLevel(t *testing.T) {
	eachServer(t, pgserver.Config{Settings: map[string]string{"wal_level": "replica"}}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "wal_level")
		pgtest.Exec(t, url, nextSQL(stop))
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		startOver(t, src, url, &entrain.Stop{})
	})
}

// writeLog makes the log longer by whole segments.
func writeLog(t *testing.T, url string, segments int) {
	t.Helper()
	for range segments {
		pgtest.Exec(t, url, "SELECT pg_logical_emit_message(false, 'filler', 'x')", "SELECT pg_switch_wal()")
	}
}

// TestStopSlotLostWAL: PG-23. The server removes log that the slot needs, while
// a session has the slot and while none has.
func TestStopSlotLostWAL(t *testing.T) {
	cfg := pgserver.Config{Settings: map[string]string{"max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		r := openReader(t, src, at)
		pgtest.Eventually(t, sourcePatience, "the slot is lost", func() bool {
			writeLog(t, url, 2)
			pgtest.Exec(t, url, "CHECKPOINT")
			return pgtest.QueryOne(t, url, "SELECT wal_status FROM pg_replication_slots") == "lost"
		})
		if err := readUntilError(t, r); !entrain.IsRetryable(err) {
			t.Errorf("the session that had the slot ends with %v, want a retryable error", err)
		}
		closeReader(t, r)
		refusedSlot(t, src, at)
		stop := expectStop(t, openError(t, src, at), "slot_lost")
		if !strings.Contains(stop.What, "wal_removed") || !strings.Contains(stop.Why, "max_slot_wal_keep_size") {
			t.Errorf("stop %+v", stop)
		}
		expectStop(t, openError(t, src, entrain.Position{}), "slot_lost")
		startOver(t, src, url, stop)
	})
}

// refusedSlot starts the stream of a lost slot as if it were lost after it was
// looked at: the server's refusal is recognised without its words.
func refusedSlot(t *testing.T, src *Source, at entrain.Position) {
	t.Helper()
	sess, err := src.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePlace(at.Offset)
	if err != nil {
		t.Fatal(err)
	}
	r := sess.reader(startPoint{p, at.Incarnation}, at)
	stop := expectStop(t, sess.stream(t.Context(), r, p), "slot_lost")
	var cause *pgconn.PgError
	if !errors.As(stop.Err, &cause) {
		t.Fatalf("the stop has not the server's words: %+v", stop)
	}
	t.Logf("refused by %s: %s", cause.Routine, cause.Message)
}

// TestStopSlotLostIdle: PG-23. From version 18 on a slot can be lost by lying
// idle.
func TestStopSlotLostIdle(t *testing.T) {
	i := slices.IndexFunc(pgtest.Majors(t), func(major int) bool { return major >= 18 })
	if i < 0 {
		return // no server under test has the time-out
	}
	srv := pgtest.Start(t, pgtest.Majors(t)[i], map[string]string{"idle_replication_slot_timeout": "1s"})
	url := srv.URL("postgres")
	pgtest.Exec(t, url, oneTable)
	src := newTestSource(t, url)
	at := progress(t, src, url)
	pgtest.Eventually(t, sourcePatience, "the slot is invalidated", func() bool {
		pgtest.Exec(t, url, "CHECKPOINT")
		return pgtest.QueryOne(t, url, "SELECT coalesce(invalidation_reason, '') FROM pg_replication_slots") != ""
	})
	stop := expectStop(t, openError(t, src, at), "slot_lost")
	if !strings.Contains(stop.What, "idle_timeout") || !strings.Contains(stop.Why, "idle_replication_slot_timeout") {
		t.Errorf("stop %+v", stop)
	}
	startOver(t, src, url, stop)
}

// promoteCopy starts a standby on a copy of a stopped server's data folder and
// promotes it.
func promoteCopy(t *testing.T, srv *pgserver.Server) *pgserver.Server {
	t.Helper()
	dir := pgtest.CopyData(t, srv)
	promoted := pgtest.StartConfig(t, pgserver.Config{Install: srv.Install(), Dir: dir})
	pgtest.Promote(t, promoted)
	return promoted
}

// TestPromotion: P5. After a promotion a position at or before the point where
// the history forked continues, with the same event ids; one past it is a stop.
func TestPromotion(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		shared := progress(t, src, url)
		if err := srv.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		promoted := promoteCopy(t, srv)
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, "INSERT INTO t VALUES (2, 'on the old timeline only')")
		past := captureNow(t, src, shared).last(t)

		there := promoted.URL("postgres")
		cfg := src.cfg
		cfg.URL = connector.Secret(pgtest.SourceURL(there))
		other := mustSource(t, cfg)
		stop := expectStop(t, openError(t, other, past), "history_forked")
		if !strings.Contains(stop.What, "timeline 2") {
			t.Errorf("stop %+v", stop)
		}
		pgtest.Exec(t, there, "INSERT INTO t VALUES (3, 'on the new timeline')")
		got := captureNow(t, other, shared)
		if len(got.lines) != 1 || !strings.Contains(got.lines[0], "on the new timeline") || !strings.Contains(got.lines[0], shared.Incarnation) {
			t.Errorf("after the promotion: %q", got.lines)
		}
		if offset := got.last(t).Offset; !strings.HasSuffix(offset, "@2") {
			t.Errorf("position %s is not on timeline 2", offset)
		}
		writeLog(t, there, 2)
		expectStop(t, openError(t, other, past), "history_forked")
		startOver(t, other, there, stop)
	})
}

// TestSlotRewind: PG-25. A server that is killed forgets how far the slot was
// confirmed; what it has again is known by its position: nothing is doubled,
// nothing lost (P1, P2).
func TestSlotRewind(t *testing.T) {
	// What the background writer notes in the log makes the server save slots.
	cfg := pgserver.Config{Durable: true, Settings: map[string]string{"bgwriter_delay": "10s"}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "SET synchronous_commit = off",
			"DO $$ BEGIN FOR i IN 1..3000 LOOP INSERT INTO t VALUES (i, 'x'); COMMIT; END LOOP; END $$",
			"SET synchronous_commit = on", "INSERT INTO t VALUES (0, 'synced')")
		r := openReader(t, src, from)
		got := captureLines(t, r, 3001)
		confirmed := func() string {
			return pgtest.QueryOne(t, url, "SELECT confirmed_flush_lsn FROM pg_replication_slots")
		}
		if err := r.Ack(t.Context(), got.last(t)); err != nil {
			t.Fatal(err)
		}
		want, _, _ := strings.Cut(got.last(t).Offset, "@")
		pgtest.Eventually(t, sourcePatience, "the position is confirmed", func() bool { return confirmed() == want })
		if err := srv.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := readUntilError(t, r); !entrain.IsRetryable(err) {
			t.Errorf("the session of the killed server ends with %v", err)
		}
		closeReader(t, r)
		if err := openError(t, src, got.last(t)); !entrain.IsRetryable(err) {
			t.Errorf("a server that does not run: %v", err)
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if confirmed() == want {
			t.Error("the slot did not go back: this test proves nothing")
		}
		pgtest.Exec(t, url, "INSERT INTO t VALUES (5000, 'after the crash')")
		checkRewound(t, src, got)
	})
}

// checkRewound reads on from the last position: first by a session that makes
// the server send all that it has again, then as always.
func checkRewound(t *testing.T, src *Source, got *captured) {
	t.Helper()
	r := openAgainFromSlot(t, src, got.last(t))
	again := captureLines(t, r, 1)
	if len(again.lines) != 1 || !strings.Contains(again.lines[0], "after the crash") {
		t.Errorf("of all that was sent again came %d events: %.300q", len(again.lines), again.lines)
	}
	if n := r.Counts()["source_skipped"]; n != 3001 {
		t.Errorf("%d changes were skipped, want those that were sent again, 3001", n)
	}
	closeReader(t, r)
	rest := captureNow(t, src, got.last(t))
	if len(rest.lines) != 1 || rest.lines[0] != again.lines[0] {
		t.Errorf("after the crash came %d events: %.300q", len(rest.lines), rest.lines)
	}
}

// openAgainFromSlot opens a session at a position whose server sends all that
// the slot still has, as a server does that does not know better.
func openAgainFromSlot(t *testing.T, src *Source, from entrain.Position) *reader {
	t.Helper()
	sess, err := src.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start, err := sess.resume(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	r := sess.reader(start, from)
	r.fb.confirmed.Store(0) // a status would tell the server
	if err := sess.stream(t.Context(), r, place{0, start.timeline}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestServerRestart: P9. An orderly restart ends the session by a retryable
// error, and the next one goes on where it was.
func TestServerRestart(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		r := openReader(t, src, progress(t, src, url))
		pgtest.Exec(t, url, "INSERT INTO t VALUES (2, 'before')")
		got := captureLines(t, r, 1)
		if err := r.Ack(t.Context(), got.last(t)); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- srv.Restart(t.Context()) }()
		if err := readUntilError(t, r); !entrain.IsRetryable(err) {
			t.Errorf("the session ends with %v, want a retryable error", err)
		}
		closeReader(t, r)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, "INSERT INTO t VALUES (3, 'after')")
		if rest := captureNow(t, src, got.last(t)); len(rest.lines) != 1 || !strings.Contains(rest.lines[0], "after") {
			t.Errorf("after the restart: %q", rest.lines)
		}
	})
}

// TestBuiltinTypes: every type of the system catalog that a column can have and
// that pgoutput does not name itself has its name, on every version.
func TestBuiltinTypes(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		rows := pgtest.Query(t, url, `SELECT oid, typname FROM pg_type WHERE oid < 10000 AND typtype IN ('b', 'r', 'm')
			AND typname NOT LIKE 'pg\_%stat%' AND typname NOT IN ('gtsvector', '_gtsvector')`)
		if len(rows) < 100 {
			t.Fatalf("only %d types", len(rows))
		}
		for _, row := range rows {
			var oid uint32
			if _, err := fmt.Sscan(row[0], &oid); err != nil {
				t.Fatal(err)
			}
			if builtinTypes[oid] != row[1] {
				t.Errorf("type %d is %q here, %q at the server", oid, builtinTypes[oid], row[1])
			}
		}
	})
}
