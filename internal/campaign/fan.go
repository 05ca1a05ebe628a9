package campaign

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
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

// fanCampaign: the binary is killed under load while servers crash, and each of
// three sinks has everything once, in order, in whole transactions (P1 to P4, P9).
func fanCampaign(t testing.TB, r *Trial) {
	c := newChaos(t, r)
	s := c.site
	second := s
	second.target = pgtest.CreateDatabase(t, c.target)
	pgtest.Exec(t, second.target, tablesSQL+accountsSQL()+rowsSQL, countersSQL)
	f := &fan{source: s.source, one: s.target, two: second.target}
	f.write(t, s.name, "snapshot: {mode: never}", embedded(""))
	c.program = supervise(t, f.file)
	f.file.until(t, "streaming", streaming)
	watchers := []*watcher{watch(t, s.target, 1), watch(t, second.target, 1)}
	l := &load{url: s.source, seed: r.Seed, writes: 3, pace: 15 * time.Millisecond, bulk: 2 * time.Second, rows: 20_000}
	l.start(t)
	c.killing()
	l.stop()
	for _, at := range []site{s, second} {
		if err := at.settle(t.Context(), livenessLimit); err != nil {
			t.Errorf("after %s: %v", r.kinds(), err)
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
	f.judge(c, watchers, []site{s, second})
}

// judge compares what is at the three sinks with what happened.
func (f *fan) judge(c *chaos, watchers []*watcher, sites []site) {
	t := c.t
	t.Helper()
	h, err := readHistory(t.Context(), c.site)
	if err != nil {
		t.Fatal(err)
	}
	all := int64(0)
	for i, at := range sites {
		found, err := verdict(t.Context(), at, h)
		if err != nil {
			t.Fatal(err)
		}
		watchers[i].stop()
		for _, f := range append(found, watchers[i].findings()...) {
			t.Errorf("sink %d: %s", i+1, f)
		}
		order, err := appliedOrder(t.Context(), at, h)
		if err != nil {
			t.Fatal(err)
		}
		c.trial.differ(order)
		reads, _ := watchers[i].looked()
		if reads < 30 {
			t.Errorf("only %d reads of the ledger", reads)
		}
		all += reads
	}
	found := wrongLines(readText(t, f.lines), h)
	for _, f := range found[:min(len(found), mostFindings)] {
		t.Errorf("lines: %s", f)
	}
	if len(h.numbered) == 0 {
		t.Error("no change was numbered")
	}
	c.trial.counted(h, all)
	c.trial.conclude(t)
}
