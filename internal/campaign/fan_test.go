package campaign

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestFanKills is fanCampaign, sampled.
func TestFanKills(t *testing.T) {
	r := sampled(t, 5, 20_000)
	if wide() {
		r.Faults, r.Changes = 150, 300_000
	}
	fanCampaign(t, r)
}

// TestFanCopyKills: existing rows are copied through the stream into three sinks
// while 16 writers change them and the process is killed, also in the copy; in the
// end all are equal (P1, P2).
func TestFanCopyKills(t *testing.T) {
	t.Parallel() // as all of these that wait for something most of the time
	srv := pgtest.Start(t, someMajor(t), nil)
	f := &fan{source: pgtest.CreateDatabase(t, srv), one: pgtest.CreateDatabase(t, srv), two: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, f.source, fullSQL)
	f.write(t, pgtest.Name(t), "snapshot: {mode: initial, parallel: 3, chunk_rows: 400}", embedded(""))
	stop := hustle(t, f.source, 10*time.Millisecond, 29)
	step := 12
	if wide() {
		step = 1
	}
	kills := killAfter(t, f.file, step, func(string) {})
	stop()
	launch(t, "run", "--until", "now", f.file.path).exitWithin(t, 2*patience, exitOK)
	want, err := query(t.Context(), f.source, rowsSQL29)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{f.one, f.two} {
		got, err := query(t.Context(), url, rowsSQL29)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("source %v\ntarget %v, %v", want, got, err)
		}
	}
	wantFolded(t, f.source, readText(t, f.lines))
	p := launch(t, "run", f.file.path)
	f.file.until(t, "it streams", streaming)
	for _, name := range []string{"one", "two"} {
		launch(t, "verify", f.file.path, "--sink", name).exit(t, exitOK)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	t.Logf("equal under %d kills and %d writers: %v", kills, writers, want)
}

// smallFan is a fan over a table of orders, on one server.
func smallFan(t *testing.T, lines ...string) *fan {
	t.Helper()
	srv := pgtest.Start(t, someMajor(t), nil)
	f := &fan{source: pgtest.CreateDatabase(t, srv), one: pgtest.CreateDatabase(t, srv), two: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, f.source, ordersSQL)
	f.write(t, pgtest.Name(t), lines...)
	return f
}

// delivery is how the delivery into a sink is; false before there is one.
func delivery(r admin.Report, sink string) (pipeline.SinkStatus, bool) {
	for _, s := range r.Sinks {
		if s.Name == sink {
			return s, true
		}
	}
	return pipeline.SinkStatus{}, false
}

// haveOrders waits until a database has this many orders.
func haveOrders(t *testing.T, url string, n int) {
	t.Helper()
	pgtest.Eventually(t, patience, fmt.Sprintf("%d orders are there", n), func() bool {
		rows, err := query(t.Context(), url, "SELECT count(*) FROM orders")
		return err == nil && rows[0][0] == fmt.Sprint(n)
	})
}

// wantLines finds what is missing or double in the file of lines: orders 1 to n, in
// order.
func (f *fan) wantLines(t *testing.T, n int) {
	t.Helper()
	pgtest.Eventually(t, patience, fmt.Sprintf("%d lines are there", n), func() bool {
		return strings.Count(readText(t, f.lines), `"op":"insert"`) >= n
	})
	next := 1
	for line := range strings.Lines(readText(t, f.lines)) {
		if !strings.Contains(line, `"op":"insert"`) {
			continue
		}
		if !strings.Contains(line, fmt.Sprintf(`"after":{"id":%d,`, next)) {
			t.Fatalf("in the place of order %d: %.300s", next, line)
		}
		next++
	}
	if next != n+1 {
		t.Errorf("%d lines of inserted orders; want %d", next-1, n)
	}
}

// same compares the orders of source and a sink.
func (f *fan) same(t *testing.T, url string) {
	t.Helper()
	const sql = "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(o::text, 0)::numeric), 0) FROM orders o"
	if want, got := pgtest.QueryOne(t, f.source, sql), pgtest.QueryOne(t, url, sql); got != want {
		t.Errorf("orders %s; the source has %s", got, want)
	}
}
