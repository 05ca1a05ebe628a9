package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSlotCreationBehindOpenTransaction: PG-28. The making of a slot waits for
// every transaction that is open: only so long, and not longer than the caller
// wants; it says for whom without showing data, and leaves nothing (P5, P7, P8).
func TestSlotCreationBehindOpenTransaction(t *testing.T) {
	cfg := pgserver.Config{Settings: map[string]string{"max_prepared_transactions": "5"}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable, "CREATE DATABASE elsewhere",
			"GRANT pg_read_all_stats TO "+pgtest.QueryOne(t, pgtest.SourceURL(url), "SELECT current_user"))
		pgtest.Exec(t, srv.URL("elsewhere"), oneTable)
		open := pgtest.Connect(t, srv.URL("elsewhere")+"?application_name=nightly")
		if _, err := open.Exec(t.Context(), "BEGIN; SAVEPOINT s; INSERT INTO t VALUES (1, 'classified')").ReadAll(); err != nil {
			t.Fatal(err)
		}
		src := newTestSource(t, url)
		cancelCreation(t, src, url)
		stop := expectWaiting(t, src, url)
		for _, want := range []string{fmt.Sprintf("process %d", open.PID()), "nightly", "elsewhere", "idle in transaction"} {
			if !strings.Contains(stop.Why, want) {
				t.Errorf("the stop does not say %q: %+v", want, stop)
			}
		}
		if strings.Contains(stop.Error(), "classified") {
			t.Errorf("the stop shows data: %+v", stop)
		}
		pgtest.Exec(t, url, "CREATE ROLE plain LOGIN REPLICATION")
		modest := expectWaiting(t, mustSource(t, sourceConfig(t, asUser(t, url, "plain"))), url)
		if want := fmt.Sprintf(`process %d of user "postgres" in database "elsewhere" (nightly)`, open.PID()); !strings.HasSuffix(modest.Why, want) {
			t.Errorf("without a right to see more: %q, want %s", modest.Why, want)
		}
		pgtest.Exec(t, url, nextSQL(stop))
		pgtest.Exec(t, url, "BEGIN; INSERT INTO t VALUES (1, 'classified'); PREPARE TRANSACTION 'it''s'")
		stop = expectWaiting(t, src, url)
		if !strings.Contains(stop.Why, `prepared transaction "it's" of user "postgres" in database "postgres"`) {
			t.Errorf("stop %+v", stop)
		}
		pgtest.Exec(t, url, nextSQL(stop))
		startOver(t, src, url, &entrain.Stop{})
	})
}

// expectWaiting opens a session whose slot cannot be made in time.
func expectWaiting(t *testing.T, src *Source, url string) *entrain.Stop {
	t.Helper()
	cfg := src.cfg
	cfg.CreateTimeout = time.Second
	began := time.Now()
	stop := expectStop(t, openError(t, mustSource(t, cfg), entrain.Position{}), "slot_waits")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	expectNoSlot(t, url)
	return stop
}

// expectNoSlot checks that no slot is left, nor a session that could make one.
func expectNoSlot(t *testing.T, url string) {
	t.Helper()
	if n := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
		t.Errorf("%s slots are left", n)
	}
	pgtest.Eventually(t, sourcePatience, "the session is gone", func() bool {
		return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'") == "0"
	})
}

// cancelCreation ends the context of an opening that waits.
func cancelCreation(t *testing.T, src *Source, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := src.Open(ctx, entrain.Position{})
		opened <- err
	}()
	pgtest.Eventually(t, sourcePatience, "the slot is being made", func() bool {
		return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'walsender'") == "1"
	})
	cancel()
	began := time.Now()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled opening ends with %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s to cancel", took)
	}
	expectNoSlot(t, url)
}

// TestUntilNowUnflushed: a bounded session ends at once although the log's end,
// which an open transaction wrote, is not on disk; all that is committed is
// delivered, also what was committed asynchronously (P1).
func TestUntilNowUnflushed(t *testing.T) {
	cfg := pgserver.Config{Settings: map[string]string{
		"bgwriter_delay": "10s", "autovacuum": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB",
	}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "SET synchronous_commit = off; INSERT INTO t VALUES (1, 'committed')")
		open := pgtest.Connect(t, url)
		if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (2, 'open')").ReadAll(); err != nil {
			t.Fatal(err)
		}
		if pgtest.QueryOne(t, url, "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()") != "t" {
			t.Error("the log is on disk: this test proves nothing")
		}
		began := time.Now()
		if got := captureNow(t, src, from); len(got.lines) != 1 || !strings.Contains(got.lines[0], "committed") {
			t.Errorf("captured %q", got.lines)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s: until the log went on", took)
		}
	})
}
