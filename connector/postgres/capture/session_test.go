package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// quickStatus makes a session of the URL exchange status three times a second.
func quickStatus(url string) string { return url + "?wal_sender_timeout=1s" }

func confirmedFlush(t *testing.T, url, slot string) lsn {
	t.Helper()
	at, err := parseLSN(pgtest.QueryOne(t, url, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+slot+"'"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func placeOf(t *testing.T, p entrain.Position) lsn {
	t.Helper()
	at, err := parsePlace(p.Offset)
	if err != nil {
		t.Fatal(err)
	}
	return at.at
}

// TestCopySharedLSN: PG-02. Rows of a COPY share a position of the log. A
// session that ends after any of its reads loses and doubles nothing, wherever
// the next one starts (P1, P2).
func TestCopySharedLSN(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, pad text DEFAULT repeat('x', 4000))")
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "COPY t (id) FROM PROGRAM 'seq 1 3'", "COPY t (id) FROM PROGRAM 'seq 4 1000'",
			"COPY t (id) FROM PROGRAM 'seq 1001 1010'", "COPY t (id) FROM PROGRAM 'seq 1011 2000'")
		all := captureFrom(t, src, from)
		if len(all.lines) != 2000 || len(all.positions) < 2 {
			t.Fatalf("%d events, %d positions", len(all.lines), len(all.positions))
		}
		for reads := 1; ; reads++ {
			part := readSome(t, src, from, reads)
			checkResume(t, src, part, all)
			if len(part.lines) == len(all.lines) {
				break
			}
		}
		for i, p := range all.positions {
			rest := captureFrom(t, src, p)
			if !slices.Equal(rest.lines, all.lines[all.before[i]:]) {
				t.Errorf("from %s came %d events, want %d", p, len(rest.lines), 2000-all.before[i])
			}
		}
	})
}

// onCopy calls do with the source on a copy of its slot: a session moves its
// slot to the position that it starts at.
func onCopy(t *testing.T, src *Source, do func(src *Source)) {
	t.Helper()
	cfg := src.cfg
	cfg.Slot = pgtest.Name(t)
	url := cfg.URL.Reveal()
	pgtest.Exec(t, url, fmt.Sprintf("SELECT pg_copy_logical_replication_slot('%s', '%s')", src.cfg.Slot, cfg.Slot))
	do(mustSource(t, cfg))
	pgtest.Exec(t, url, dropSlot(cfg.Slot))
}

// captureFrom is captureNow on a copy of the slot.
func captureFrom(t *testing.T, src *Source, from entrain.Position) *captured {
	t.Helper()
	var got *captured
	onCopy(t, src, func(src *Source) { got = captureNow(t, src, from) })
	return got
}

// readSome opens a session, reads so many batches and closes it.
func readSome(t *testing.T, src *Source, from entrain.Position, reads int) *captured {
	t.Helper()
	part := &captured{positions: []entrain.Position{from}, before: []int{0}}
	onCopy(t, src, func(src *Source) {
		r := openReader(t, src, from)
		defer closeReader(t, r)
		for range reads {
			part.take(t, read(t, r))
		}
	})
	return part
}

// checkResume goes on from the last position of a part.
func checkResume(t *testing.T, src *Source, part, all *captured) {
	t.Helper()
	n := part.before[len(part.before)-1]
	if !slices.Equal(part.lines, all.lines[:len(part.lines)]) {
		t.Errorf("the first %d events differ", len(part.lines))
	}
	if rest := captureFrom(t, src, part.last(t)); !slices.Equal(rest.lines, all.lines[n:]) {
		t.Errorf("after %d events, from %s, came %d, want %d", len(part.lines), part.last(t), len(rest.lines), len(all.lines)-n)
	}
}

// TestKeepaliveUnderBackpressure: PG-21. A session whose batches nobody takes
// for ten times the server's time-out keeps its walsender (P7).
func TestKeepaliveUnderBackpressure(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, quickStatus(url))
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
		r := openReader(t, src, from)
		got := &captured{}
		got.take(t, read(t, r))
		walsender := "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '" + src.cfg.Slot + "'"
		pid := pgtest.QueryOne(t, url, walsender)
		select {
		case <-time.After(10 * time.Second):
		case <-t.Context().Done():
		}
		if now := pgtest.QueryOne(t, url, walsender); now != pid || pid == pgtest.Null {
			t.Errorf("the walsender was %s and is %s", pid, now)
		}
		for len(got.lines) < 20000 {
			got.take(t, read(t, r))
		}
	})
}

// TestAckIsConfirmed: the server is told what was acknowledged, nothing more,
// and never less than before (P1).
func TestAckIsConfirmed(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, quickStatus(url))
		from := createSlot(t, src)
		r := openReader(t, src, from)
		var at []entrain.Position
		for i := range 3 {
			pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO t VALUES (%d, 'x')", i))
			at = append(at, captureLines(t, r, 1).last(t))
		}
		if got := confirmedFlush(t, url, src.cfg.Slot); got != placeOf(t, from) {
			t.Errorf("confirmed %s without an Ack, want %s", got, from)
		}
		for _, ack := range []int{1, 0} {
			if err := r.Ack(t.Context(), at[ack]); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, sourcePatience, "the position is confirmed", func() bool {
				return confirmedFlush(t, url, src.cfg.Slot) == placeOf(t, at[1])
			})
		}
		for _, bad := range []entrain.Position{{}, {Incarnation: "other", Offset: at[2].Offset}, {Incarnation: at[2].Incarnation, Offset: "x"}} {
			if err := r.Ack(t.Context(), bad); err == nil {
				t.Errorf("position %+v was acknowledged", bad)
			}
		}
		if err := r.Ack(t.Context(), at[2]); err != nil {
			t.Fatal(err)
		}
		closeReader(t, r)
		if got := confirmedFlush(t, url, src.cfg.Slot); got != placeOf(t, at[2]) {
			t.Errorf("confirmed %s after Close, want the last Ack's %s", got, at[2])
		}
	})
}

// TestIdlePosition: the log of unpublished tables moves the position by
// keepalives, which is handed out when it is worth it, and the slot only after
// that was acknowledged (P7).
func TestIdlePosition(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE busy (v text)", "CREATE PUBLICATION pub FOR TABLE t")
		src := newTestSource(t, quickStatus(url))
		r := openReader(t, src, createSlot(t, src))
		pgtest.Exec(t, url, "INSERT INTO busy SELECT repeat(md5(i::text), 40) FROM generate_series(1, 20000) i")
		target := placeOfServer(t, url)
		r.ticked = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if b, err := r.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("an idle position within the first seconds: %+v, %v", b, err)
		}
		before := confirmedFlush(t, url, src.cfg.Slot)
		r.ticked = time.Now().Add(-idleMinTime)
		b := read(t, r)
		if len(b.Events) != 0 || placeOf(t, b.Through) < target {
			t.Fatalf("idle batch %+v, want a position at %s or later", b, target)
		}
		if got := confirmedFlush(t, url, src.cfg.Slot); got != before {
			t.Errorf("the slot moved to %s without an Ack", got)
		}
		if err := r.Ack(t.Context(), b.Through); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, sourcePatience, "the slot moves", func() bool {
			return confirmedFlush(t, url, src.cfg.Slot) == placeOf(t, b.Through)
		})
	})
}

func placeOfServer(t *testing.T, url string) lsn {
	t.Helper()
	at, err := parseLSN(pgtest.QueryOne(t, url, "SELECT pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestUntilNowBehindPageHeader: a bounded session ends on an idle server whose
// log ends just behind a page's header, a place that it never reports.
func TestUntilNowBehindPageHeader(t *testing.T) {
	cfg := pgserver.Config{Settings: map[string]string{"bgwriter_delay": "10s", "autovacuum": "off"}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'one')", "SELECT pg_switch_wal()")
		start := time.Now()
		if got := captureNow(t, src, from); len(got.lines) != 1 {
			t.Errorf("captured %q", got.lines)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %s: until the log went on", took)
		}
	})
}

// TestUntilNow: a bounded session ends on a server that idles and on one that
// is busy, also with a transaction open; it delivers what was committed before
// and stops.
func TestUntilNow(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		if got := captureNow(t, src, from); len(got.lines) != 0 {
			t.Errorf("on an idle server: %q", got.lines)
		}
		pgtest.Exec(t, url, "SELECT pg_logical_emit_message(false, 'x', '')")
		open := pgtest.Connect(t, url)
		if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1, 'open')").ReadAll(); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, "INSERT INTO t VALUES (2, 'committed')")
		if got := captureNow(t, src, from); len(got.lines) != 2 || strings.Contains(got.lines[1], "open") {
			t.Errorf("with a transaction open: %q", got.lines)
		}
		if got := captureNow(t, src, entrain.Position{}); len(got.lines) != 2 {
			t.Errorf("from the start: %q", got.lines)
		}
		stop := keepBusy(t, url)
		busy := captureNow(t, src, from)
		stop()
		if after := captureNow(t, src, busy.last(t)); len(after.lines) == 0 {
			t.Log("the server was not busy enough to go on after the end")
		}
	})
}

// keepBusy commits one row after the other until the function that it returns
// is called.
func keepBusy(t *testing.T, url string) func() {
	t.Helper()
	conn := pgtest.Connect(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 100; ctx.Err() == nil; i++ {
			if err := insertRow(ctx, conn, i); err != nil && ctx.Err() == nil {
				t.Errorf("insert row %d: %v", i, err)
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func insertRow(ctx context.Context, conn *pgconn.PgConn, id int) error {
	_, err := conn.Exec(ctx, "INSERT INTO t VALUES ("+strconv.Itoa(id)+", 'busy')").ReadAll()
	return err
}

// TestInterruptedReads: contexts that end at any moment of a stream lose
// nothing (P1).
func TestInterruptedReads(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		r := openReader(t, src, createSlot(t, src))
		stop := keepBusy(t, url)
		defer stop()
		got := &captured{}
		for i := 0; len(got.lines) < 500; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*300*time.Microsecond)
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
			if want := fmt.Sprintf(`"id":%d,"v"`, 100+i); !strings.Contains(line, want) {
				t.Fatalf("event %d is %s, want %s", i, line, want)
			}
		}
	})
}

// TestOpenUnreachable: a session that is cancelled before it opens, or whose server
// is gone, leaves nothing open.
func TestOpenUnreachable(t *testing.T) {
	src := newTestSource(t, "postgres://postgres@127.0.0.1:1/db")
	err := openError(t, src, entrain.Position{})
	if !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("error %v, want a retryable one that names the server", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Open(ctx, entrain.Position{}); !errors.Is(err, context.Canceled) {
		t.Errorf("open with a cancelled context: %v", err)
	}
}

// TestHugeTransaction: PF-01. Memory stays flat while a transaction of a million
// rows passes (ten million with ENTRAIN_TEST_WIDE=1), acknowledged or not (P6).
func TestHugeTransaction(t *testing.T) {
	rows := 1_000_000
	if os.Getenv("ENTRAIN_TEST_WIDE") == "1" {
		rows = 10_000_000
	}
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int, v text)")
		cfg := sourceConfig(t, url)
		cfg.Tables.Include = []string{"public.t"}
		pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR TABLE t WITH (publish = 'insert')")
		src := mustSource(t, cfg)
		from := createSlot(t, src)
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO t SELECT i, 'value ' || i FROM generate_series(1, %d) i", rows))
		r := openReader(t, src, from)
		var m runtime.MemStats
		events, reads, most := 0, 0, uint64(0)
		for {
			b := read(t, r)
			events += len(b.Events)
			if reads++; reads%20 == 0 {
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			through := b.Through
			if b.Free != nil {
				b.Free()
			}
			if !through.IsZero() && events > 0 {
				break
			}
		}
		if events != rows {
			t.Errorf("%d events, want %d", events, rows)
		}
		if most > 64<<20 {
			t.Errorf("the heap grew to %s", connector.ByteSize(most))
		}
		t.Logf("%d batches, heap at most %d kB", reads, most>>10)
	})
}
