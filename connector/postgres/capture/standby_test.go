package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// majorsFrom returns the versions under test that have what came with one. The
// newest of all has everything, so that no run goes without.
func majorsFrom(t *testing.T, first int) []int {
	t.Helper()
	majors := slices.DeleteFunc(pgtest.Majors(t), func(major int) bool { return major < first })
	if len(majors) == 0 {
		majors = []int{18}
	}
	return majors
}

// pair is a primary with a standby that follows it by a slot of its own.
type pair struct{ primary, standby *pgserver.Server }

// startPair starts both; the settings are the standby's.
func startPair(t *testing.T, major int, primary, standby map[string]string) pair {
	t.Helper()
	p := pair{primary: pgtest.Start(t, major, primary)}
	pgtest.Exec(t, p.primary.URL("postgres"), oneTable, "CREATE PUBLICATION pub FOR TABLE t")
	p.standby = pgtest.Standby(t, p.primary, standby)
	return p
}

func (p pair) write(t *testing.T, sql ...string) {
	t.Helper()
	pgtest.Exec(t, p.primary.URL("postgres"), sql...)
}

// source is one that reads from the standby.
func (p pair) source(t *testing.T) *Source {
	t.Helper()
	cfg := sourceConfig(t, p.standby.URL("postgres"))
	cfg.CreateTimeout = sourcePatience
	return mustSource(t, cfg)
}

// createOnStandby makes the source's slot with the help of the primary.
func (p pair) createOnStandby(t *testing.T, src *Source) entrain.Position {
	t.Helper()
	opened := make(chan entrain.Position, 1)
	go func() {
		defer close(opened)
		r, err := src.Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Errorf("open on the standby: %v", err)
			return
		}
		asm := r.(*standbyReader).asm
		opened <- place{asm.resume, asm.timeline}.position(asm.stream.Incarnation)
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	var at entrain.Position
	pgtest.Eventually(t, sourcePatience, "the slot is made", func() bool {
		p.write(t, standbySnapshot)
		select {
		case at = <-opened:
			return true
		default:
			return false
		}
	})
	for range opened { // until it is closed
	}
	return at
}

// openStandby opens a session that ends with the test.
func openStandby(t *testing.T, src entrain.Source, from entrain.Position) *standbyReader {
	t.Helper()
	r, err := src.Open(t.Context(), from)
	if err != nil {
		t.Fatalf("open at %s: %v", from, err)
	}
	t.Cleanup(func() { r.Close() })
	return r.(*standbyReader)
}

// TestStandbySource: a standby is a source like any other. When it is promoted
// in the middle of a session, the history goes on without loss, doubling or a
// false alarm; a position that is not in it is still refused (P1, P2, P5).
func TestStandbySource(t *testing.T) {
	for _, major := range majorsFrom(t, 16) {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			p := startPair(t, major, nil, nil)
			src := p.source(t)
			from := p.createOnStandby(t, src)
			p.write(t, "INSERT INTO t VALUES (1, 'one')")
			r := openStandby(t, src, from)
			got := captureLines(t, r, 1)
			if err := r.Ack(t.Context(), got.last(t)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			checkUntilOnStandby(t, src, got.last(t))
			r = openStandby(t, src, got.last(t))
			pgtest.Promote(t, p.standby)
			p.standbyWrites(t, "INSERT INTO t VALUES (2, 'two')")
			b, err := readOrError(t, r)
			if err == nil || !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "timeline 1 to 2") {
				t.Fatalf("across the promotion: %+v, %v", b, err)
			}
			r.Close()
			after := captureNow(t, src, got.last(t))
			if len(after.lines) != 1 || !strings.Contains(after.lines[0], "two") || !strings.Contains(after.lines[0], from.Incarnation) {
				t.Errorf("after the promotion: %q", after.lines)
			}
			if at := after.last(t).Offset; !strings.HasSuffix(at, "@2") {
				t.Errorf("position %s is not on timeline 2", at)
			}
			past := after.last(t)
			past.Offset = strings.TrimSuffix(past.Offset, "@2") + "@1"
			expectStop(t, openError(t, src, past), "history_forked")
		})
	}
}

func (p pair) standbyWrites(t *testing.T, sql string) {
	t.Helper()
	pgtest.Exec(t, p.standby.URL("postgres"), sql)
}

// checkUntilOnStandby: a bounded session on an idle standby ends.
func checkUntilOnStandby(t *testing.T, src *Source, from entrain.Position) {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	c := &captured{}
	r := openStandby(t, bounded, from)
	if err := readAll(t, r, c); err != nil || len(c.lines) != 0 {
		t.Errorf("a bounded session came to %q, %v", c.lines, err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestStandbyInterrupted: a session with a standby loses nothing when its reads
// are cut at any moment, and Close ends one that is blocked (P1).
func TestStandbyInterrupted(t *testing.T) {
	p := startPair(t, majorsFrom(t, 16)[0], nil, nil)
	src := p.source(t)
	r := openStandby(t, src, p.createOnStandby(t, src))
	p.write(t, "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 20000) i")
	got := &captured{}
	for i := 0; len(got.lines) < 20000; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%9)*100*time.Microsecond)
		b, err := r.Read(ctx)
		cancel()
		switch {
		case err == nil:
			got.take(t, b)
		case !errors.Is(err, context.DeadlineExceeded):
			t.Fatalf("read: %v", err)
		}
	}
	for i, line := range got.lines {
		if want := fmt.Sprintf(`"id":%d,"v"`, i+1); !strings.Contains(line, want) {
			t.Fatalf("event %d is %s, want %s", i, line, want)
		}
	}
	blocked := make(chan error, 1)
	go func() {
		_, err := r.Read(t.Context())
		blocked <- err
	}()
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-blocked; err == nil {
		t.Error("a closed session was read from")
	}
}

// TestStandbySlotWaits: on an idle primary the slot of a standby cannot be made;
// the stop names what has to be done there, and that helps (P5).
func TestStandbySlotWaits(t *testing.T) {
	p := startPair(t, majorsFrom(t, 16)[0], map[string]string{"bgwriter_delay": "10s", "autovacuum": "off"}, nil)
	src := p.source(t)
	cfg := src.cfg
	cfg.CreateTimeout = time.Second
	stop := expectStop(t, openError(t, mustSource(t, cfg), entrain.Position{}), "slot_waits")
	if nextSQL(stop) != standbySnapshot || !strings.Contains(stop.Next, "on the primary") {
		t.Errorf("next: %s", stop.Next)
	}
	if n := pgtest.QueryOne(t, cfg.URL.Reveal(), "SELECT count(*) FROM pg_replication_slots"); n != "0" {
		t.Errorf("%s slots are left", n)
	}
	p.createOnStandby(t, src)
	missing := cfg
	missing.Slot, missing.Publication = pgtest.Name(t), "not_there"
	stop = expectStop(t, openError(t, mustSource(t, missing), entrain.Position{}), "publication_not_made")
	if !strings.Contains(stop.Next, "on the primary") {
		t.Errorf("next: %s", stop.Next)
	}
	p.write(t, nextSQL(stop))
	expectSlotOnly(t, src)
	on := true
	missing.Publication, missing.Failover = "pub", &on
	expectStop(t, openError(t, mustSource(t, missing), entrain.Position{}), "failover_unsupported")
}

// TestStandbyIsWaitedFor: a standby that has not (yet) got as far as we have been
// is no broken history: it is waited for, and after a while asked again (P5, P9).
func TestStandbyIsWaitedFor(t *testing.T) {
	p := startPair(t, majorsFrom(t, 16)[0], nil, nil)
	src := p.source(t)
	at := p.createOnStandby(t, src)
	p.write(t, "SELECT pg_switch_wal()")
	p.caughtUp(t)
	ahead := at
	ahead.Offset = place{placeOf(t, at) + 1<<24 + 5<<16, 1}.offset()
	cfg := src.cfg
	cfg.URL = connector.Secret(quickStatus(cfg.URL.Reveal()))
	quick := mustSource(t, cfg)
	if err := openError(t, quick, ahead); !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "our position is") {
		t.Errorf("far ahead of the standby: %v, want a retryable error that says so", err)
	}
	opened := make(chan error, 1)
	go func() {
		r, err := src.Open(t.Context(), ahead)
		if err == nil {
			err = r.Close()
		}
		opened <- err
	}()
	pgtest.Eventually(t, sourcePatience, "the session waits", func() bool {
		return pgtest.QueryOne(t, cfg.URL.Reveal(), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'") == "1"
	})
	writeLog(t, p.primary.URL("postgres"), 2)
	if err := <-opened; err != nil {
		t.Errorf("when the standby had caught up: %v", err)
	}
}

// expectSlotOnly: what a teardown removes on a standby is what was made there.
func expectSlotOnly(t *testing.T, src *Source) {
	t.Helper()
	removals, err := src.Teardown(t.Context())
	if err != nil || len(removals) != 1 || !strings.Contains(removals[0].What, "replication slot") {
		t.Fatalf("a teardown would remove %+v, %v", removals, err)
	}
	if err := removals[0].Do(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStopStandbyConflict: PG-23. What a primary does can cost its standby the
// slot; the stop says what it was (P5).
func TestStopStandbyConflict(t *testing.T) {
	for _, major := range majorsFrom(t, 16) {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			p := startPair(t, major, map[string]string{"autovacuum": "off"}, map[string]string{"hot_standby_feedback": "off"})
			src := p.source(t)
			at := p.createOnStandby(t, src)
			pgtest.Eventually(t, sourcePatience, "catalog rows are removed on the standby", func() bool {
				p.write(t, "CREATE TABLE gone (i int)", "DROP TABLE gone", "VACUUM pg_class")
				return p.slotLost(t)
			})
			p.expectConflict(t, src, at, "hot_standby_feedback")
			at = p.createOnStandby(t, src)
			r := openStandby(t, src, at)
			p.write(t, "ALTER SYSTEM SET wal_level = replica")
			if err := p.primary.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := readUntilError(t, r); !entrain.IsRetryable(err) {
				t.Errorf("the session that had the slot ends with %v, want a retryable error", err)
			}
			r.Close()
			pgtest.Eventually(t, sourcePatience, "the slot is invalidated", func() bool { return p.slotLost(t) })
			p.expectConflict(t, src, at, "wal_level")
			stop := expectStop(t, openError(t, src, entrain.Position{}), "wal_level")
			p.write(t, nextSQL(stop))
			if err := p.primary.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.caughtUp(t)
			p.createOnStandby(t, src)
		})
	}
}

// caughtUp waits until the standby has replayed all that the primary wrote.
func (p pair) caughtUp(t *testing.T) {
	t.Helper()
	end := pgtest.QueryOne(t, p.primary.URL("postgres"), "SELECT pg_current_wal_flush_lsn()")
	pgtest.Eventually(t, sourcePatience, "the standby has caught up", func() bool {
		return pgtest.QueryOne(t, p.standby.URL("postgres"), "SELECT pg_last_wal_replay_lsn() >= '"+end+"'") == "t"
	})
}

// slotLost reports that the server has given the slot up, and that nobody has it: while it
// is given up, the process that replays the log does.
func (p pair) slotLost(t *testing.T) bool {
	t.Helper()
	return pgtest.QueryOne(t, p.standby.URL("postgres"),
		"SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT active AND (conflicting OR wal_status = 'lost')") == "1"
}

// expectConflict expects the stop and does what it says.
func (p pair) expectConflict(t *testing.T, src *Source, at entrain.Position, why string) {
	t.Helper()
	stop := expectStop(t, openError(t, src, at), "slot_lost")
	if !strings.Contains(stop.Why, why) {
		t.Errorf("stop %+v, want a word about %s", stop, why)
	}
	p.standbyWrites(t, nextSQL(stop))
}

// TestSeveralHostsNeedAKind: which of several servers is meant must be said.
func TestSeveralHostsNeedAKind(t *testing.T) {
	const two = "postgres://u@127.0.0.1:1,127.0.0.1:2/db"
	for url, ok := range map[string]bool{
		two: false, two + "?target_session_attrs=any": false, two + "?target_session_attrs=read-write": true,
		two + "?target_session_attrs=standby": true, "postgres://u@127.0.0.1:1/db": true,
		"postgres://u@127.0.0.1:1/db?sslmode=prefer": true,
	} {
		if _, err := NewSource(Config{URL: connector.Secret(url)}); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
