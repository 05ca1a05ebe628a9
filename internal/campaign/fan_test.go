package campaign

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// fan is a pipeline of the binary with the embedded stream and three sinks: two
// databases and a file of lines.
type fan struct {
	source, one, two string
	lines            string
	file             pipelineFile
}

// sinkNamed is a sink's section with a name.
func sinkNamed(name, section string) string {
	return strings.Replace(section, "{", "{name: "+name+", ", 1)
}

// creating is a section of a PostgreSQL sink that makes its tables.
func creating(section string) string {
	return strings.TrimSuffix(section, "}") + ", create_tables: true}"
}

// embedded is the stream's section.
func embedded(more string) string { return "stream: {type: embedded" + more + "}" }

// write writes the pipeline's file. lines are those besides source and sinks.
func (f *fan) write(t testing.TB, name string, lines ...string) {
	t.Helper()
	f.lines = filepath.Join(t.TempDir(), "lines.jsonl")
	sinks := []string{
		sinkNamed("one", creating(intoPostgres(f.one))), sinkNamed("two", creating(intoPostgres(f.two))), sinkNamed("lines", intoFile(f.lines)),
	}
	lines = append(lines, "source: "+fromPostgres(f.source), "sinks: ["+strings.Join(sinks, ", ")+"]")
	f.file = writeSections(t, name, lines...)
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

// TestFanKills: the binary is killed under load while servers crash, and each of
// three sinks has everything once, in order, in whole transactions (P1 to P4, P9).
func TestFanKills(t *testing.T) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	kills, least := 5, int64(20_000)
	if wide() {
		kills, least = 150, leastChanges
	}
	durable := func() *pgserver.Server {
		return pgtest.StartConfig(t, pgserver.Config{Install: pgtest.Install(t, someMajor(t)), Durable: true})
	}
	source, target := durable(), durable()
	s := newSite(t, source, target)
	second := s
	second.target = pgtest.CreateDatabase(t, target)
	pgtest.Exec(t, second.target, tablesSQL+accountsSQL()+rowsSQL, countersSQL)
	f := &fan{source: s.source, one: s.target, two: second.target}
	f.write(t, s.name, "snapshot: {mode: never}", embedded(""))
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 0)), site: s, source: source, target: target}
	c.program = supervise(t, f.file)
	f.file.until(t, "streaming", streaming)
	watchers := []*watcher{watch(t, s.target, 1), watch(t, second.target, 1)}
	l := &load{url: s.source, seed: seed, writes: 3, pace: 15 * time.Millisecond, bulk: 2 * time.Second, rows: 20_000}
	l.start(t)
	c.killing(kills)
	l.stop()
	for _, at := range []site{s, second} {
		if err := at.settle(t.Context(), livenessLimit); err != nil {
			t.Errorf("after %d kills: %v", c.kills, err)
		}
	}
	for _, name := range []string{"one", "two"} {
		launch(t, "verify", f.file.path, "--sink", name).exit(t, exitOK)
	}
	if p := c.program.terminate(t); p.code() != exitOK {
		t.Errorf("after SIGTERM exit code %d: %s", p.code(), tail(p.stderr.String(), 2000))
	}
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	if text := c.program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	if n := f.judge(t, c, watchers, []site{s, second}); n < least {
		t.Errorf("only %d changes; want %d", n, least)
	}
}

// judge compares what is at the three sinks with what happened, and returns how many
// changes that were.
func (f *fan) judge(t *testing.T, c *chaos, watchers []*watcher, sites []site) int64 {
	t.Helper()
	h, err := readHistory(t.Context(), c.site)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range sites {
		found, err := verdict(t.Context(), at, h)
		if err != nil {
			t.Fatal(err)
		}
		watchers[i].stop()
		for _, f := range append(found, watchers[i].findings()...) {
			t.Errorf("sink %d: %s", i+1, f)
		}
		if reads, _ := watchers[i].looked(); reads < 30 {
			t.Errorf("only %d reads of the ledger", reads)
		}
	}
	found := wrongLines(readText(t, f.lines), h)
	for _, f := range found[:min(len(found), mostFindings)] {
		t.Errorf("lines: %s", f)
	}
	if len(h.numbered) == 0 {
		t.Error("no change was numbered")
	}
	_, kinds := c.faults()
	t.Logf("%d changes in %d transactions at each of 3 sinks; %s", h.changes, h.transactions, kinds)
	return h.changes
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
	stop := hustle(t, f.source, 10*time.Millisecond)
	step := 12
	if wide() {
		step = 1
	}
	kills := killAfter(t, f.file, step)
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
