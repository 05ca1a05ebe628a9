package campaign

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// fanMemory bounds a process with an embedded stream and three sinks. What was written
// in the last seconds is among it, since the stream caches that.
const fanMemory = 384 << 20

// startFan runs a fan until its first order is at all sinks.
func startFan(t *testing.T, f *fan) *process {
	t.Helper()
	p := launch(t, "run", f.file.path)
	f.file.until(t, "streaming", streaming)
	addOrders(t, f.source, 1, 1)
	haveOrders(t, f.one, 1)
	haveOrders(t, f.two, 1)
	return p
}

// stall makes the sink two hang until the session's transaction ends.
func (f *fan) stall(t *testing.T) *pgconn.PgConn {
	t.Helper()
	lock := pgtest.Connect(t, f.two)
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	return lock
}

// flood writes orders behind the first n, some thousand a transaction, and returns how
// many there are then.
func (f *fan) flood(t *testing.T, n, transactions int) int {
	t.Helper()
	const each = 5000
	for range transactions {
		addOrders(t, f.source, n+1, n+each)
		n += each
	}
	return n
}

// confirmed reports whether the slot has been told of what the log had at some time.
func (f *fan) confirmed(t *testing.T, lsn string) bool {
	t.Helper()
	return pgtest.QueryOne(t, f.source, "SELECT confirmed_flush_lsn >= '"+lsn+"' FROM pg_replication_slots WHERE database = current_database()") == "t"
}

// TestFanStalledSink: a sink that hangs slows neither the source nor the others,
// costs no memory, and gets everything when it works again (PF-03; P1, P6).
func TestFanStalledSink(t *testing.T) {
	f := smallFan(t, embedded(""))
	p := startFan(t, f)
	n := 1
	round := func() time.Duration {
		began := time.Now()
		n = f.flood(t, n, 10)
		haveOrders(t, f.one, n)
		return time.Since(began)
	}
	more := 3
	if wide() {
		more = 30
	}
	round() // everything is warm afterwards
	before := round()
	haveOrders(t, f.two, n)
	lock := f.stall(t)
	during, early := before, int64(0)
	for i := range more {
		if took := round(); i == 0 || took < during {
			during = took
		}
		if i <= more*2/3 {
			early = p.peak()
		}
	}
	late := p.peak()
	t.Logf("50000 orders in %s, in %s while a sink hangs; at most %d MB, then %d MB", before, during, early>>20, late>>20)
	if during > 2*before+time.Second {
		t.Errorf("the other sink had 50000 orders in %s, and in %s while one hangs", before, during)
	}
	if late > early+32<<20 || late > fanMemory {
		t.Errorf("%d MB of memory, later %d MB", early>>20, late>>20)
	}
	end := pgtest.QueryOne(t, f.source, "SELECT pg_current_wal_lsn()")
	addOrders(t, f.source, n+1, n+1)
	n++
	pgtest.Eventually(t, patience, "the slot moves on", func() bool { return f.confirmed(t, end) })
	f.file.until(t, "the status tells which sink hangs", func(r admin.Report) bool {
		one, _ := delivery(r, "one")
		two, _ := delivery(r, "two")
		return two.Status.Waiting == "sink" && two.Status.WaitingSeconds > 1 && one.Status.Waiting == "source"
	})
	if _, err := lock.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
		t.Fatal(err)
	}
	haveOrders(t, f.two, n)
	f.same(t, f.one)
	f.same(t, f.two)
	f.wantLines(t, n)
}

// TestFanFullStream: while the stream is full because a sink hangs, capture waits and
// the slot holds; nothing is dropped, also by a kill, and it goes on when there is
// room (P1, P6, P9).
func TestFanFullStream(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(", max_bytes: 8MB"))
	p := startFan(t, f)
	lock := f.stall(t)
	n := f.flood(t, 1, 24)
	end := pgtest.QueryOne(t, f.source, "SELECT pg_current_wal_lsn()")
	p.logs(t, "the stream is full")
	if peak := p.peak(); peak > fanMemory {
		t.Errorf("%d MB of memory", peak>>20)
	}
	p.kill()
	p = launch(t, "run", f.file.path)
	p.logs(t, "the stream is full")
	if f.confirmed(t, end) {
		t.Error("the slot was told of changes that have no room")
	}
	if got := pgtest.QueryOne(t, f.one, "SELECT (count(*) BETWEEN 5000 AND 100000)::text FROM orders"); got != "true" {
		t.Error("the other sink does not have what is in the stream, or what is not")
	}
	if _, err := lock.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
		t.Fatal(err)
	}
	p.logs(t, "the stream has room again")
	haveOrders(t, f.one, n)
	haveOrders(t, f.two, n)
	f.same(t, f.one)
	f.same(t, f.two)
	f.wantLines(t, n)
	pgtest.Eventually(t, patience, "the slot moves on", func() bool { return f.confirmed(t, end) })
}

// failing waits until a delivery is given up for the time being.
func (f *fan) failing(t *testing.T, sink, code string) pipeline.SinkStatus {
	t.Helper()
	var found pipeline.SinkStatus
	f.file.until(t, "the status tells what stopped "+sink, func(r admin.Report) bool {
		found, _ = delivery(r, sink)
		return strings.Contains(found.Failed, code)
	})
	return found
}

// TestFanRefusal: a sink that refuses stops alone and by name, and goes on by itself
// when what the stop says was done (P1, P5, P9).
func TestFanRefusal(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(""))
	p := launch(t, "run", f.file.path)
	f.file.until(t, "streaming", streaming)
	haveOrders(t, f.two, 0)
	pgtest.Exec(t, f.two, "ALTER TABLE orders DROP COLUMN note")
	addOrders(t, f.source, 1, 100)
	stop := f.failing(t, "two", "column_missing")
	addOrders(t, f.source, 101, 200)
	haveOrders(t, f.one, 200)
	haveOrders(t, f.two, 0)
	p.logs(t, "column_missing")
	status := launch(t, "status", f.file.path)
	status.exit(t, exitOK)
	line := status.stdout.String()
	if _, line, _ = strings.Cut(line, "sink two"); !strings.Contains(line, "failed, will be tried again") || !strings.Contains(line, "column_missing") {
		t.Errorf("status says %s", &status.stdout)
	}
	_, sql, found := strings.Cut(stop.Failed, "; next: ")
	if !found {
		t.Fatalf("no advice in %s", stop.Failed)
	}
	began := time.Now()
	pgtest.Exec(t, f.two, sql)
	haveOrders(t, f.two, 200)
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("it went on after %s", took)
	}
	f.same(t, f.two)
	f.wantLines(t, 200)
	f.file.until(t, "the failure is forgotten", func(r admin.Report) bool {
		two, _ := delivery(r, "two")
		return two.Failed == ""
	})
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
}
