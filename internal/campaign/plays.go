package campaign

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

// direct is three seconds of the usual load, with cuts at every boundary.
func (a *attempt) direct() []string {
	f := a.flight()
	a.alter(&f.o)
	return f.run()
}

// unsaved has cuts only where a sink that does not keep the position has not saved it yet.
func (a *attempt) unsaved() []string {
	f := a.flight()
	a.alter(&f.o)
	f.cuts = newCutter(a.seed, 10, pipeline.PointDurable)
	return f.run()
}

// manyRows is more than the rarest bug needs.
const manyRows = 1_100_000

// many writes a great many rows at once.
func (a *attempt) many() []string {
	f := a.flight()
	a.alter(&f.o)
	f.load.bulk, f.within = 0, patience
	f.during = func() {
		pgtest.Exec(a, f.site.source, fmt.Sprintf("INSERT INTO bulk SELECT -i, 'x', 0 FROM generate_series(1, %d) i", manyRows))
	}
	return f.run()
}

// torn has transactions that are larger than a batch, and sessions that end in them. The
// bug goes on behind the last row that the sink took.
func (a *attempt) torn() []string {
	f := a.flight()
	f.cuts = newCutter(a.seed, 3, pointPart)
	f.load.bulk, f.load.rows = 400*time.Millisecond, 40_000
	mark := new(rowMark)
	f.o.BatchBytes = 64 << 10
	f.o.Sink = &tamperedSink{Sink: f.o.Sink, write: func(ctx context.Context, w entrain.Writer, b *entrain.Batch) error {
		err := w.Write(ctx, b)
		if mark.note(b); err == nil && b.Through.IsZero() {
			err = f.cuts.point(pointPart)
		}
		return err
	}}
	if a.planted() {
		f.o.Source = &tamperedSource{Source: f.o.Source, byRow: mark}
	}
	return f.run()
}

// pointPart is behind a part of a transaction.
const pointPart pipeline.Point = "part"

// idle has a source without changes, whose log moves all the same; the session is cut
// when such a position comes. The bug tells the source at once.
func (a *attempt) idle() []string {
	f := a.flight()
	f.cuts.rate = 0
	beside := pgtest.CreateDatabase(a, a.srv)
	pgtest.Exec(a, beside, "CREATE TABLE beside (v text)")
	var seen, quiet atomic.Bool
	f.o.Source = &tamperedSource{Source: f.o.Source, early: func(b *entrain.Batch) bool {
		if len(b.Events) > 0 || !quiet.Load() {
			return false
		}
		f.cuts.soon()
		seen.Store(true)
		return a.planted()
	}}
	f.during = func() {
		wait(a.Context(), time.Second)
		f.load.stop()
		quiet.Store(true)
		pgtest.Eventually(a, patience, "an idle position", func() bool {
			pgtest.Exec(a, beside, "INSERT INTO beside SELECT repeat(md5(i::text), 10) FROM generate_series(1, 1000) i")
			return seen.Load()
		})
	}
	return f.run()
}

// lines goes into a file, whose position is in a store that fails now and then. The bug
// tells the source first.
func (a *attempt) lines() []string {
	f := a.flight()
	path := filepath.Join(a.TempDir(), "lines.jsonl")
	sink, err := file.NewSink(file.SinkConfig{Path: path})
	if err != nil {
		a.Fatal(err)
	}
	source := &tamperedSource{Source: f.o.Source}
	f.cuts = newCutter(a.seed, 8, pointSave)
	f.o.Sink, f.o.Source = sink, source
	f.o.Store = &hastyStore{source: source, cuts: f.cuts, hasty: a.planted()}
	const last = 424242
	f.settle = func(ctx context.Context) error {
		_, err := query(ctx, f.site.source, fmt.Sprintf("INSERT INTO marker VALUES (%d)", last))
		for end := time.Now().Add(f.within); err == nil && !strings.Contains(readText(a, path), fmt.Sprint(last)); wait(ctx, 50*time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("the last row is not in the file %s after the faults ended", f.within)
			}
			err = ctx.Err()
		}
		return err
	}
	f.judge = func(ctx context.Context) ([]string, error) {
		h, err := readHistory(ctx, f.site)
		if err != nil {
			return nil, err
		}
		found := wrongLines(readText(a, path), h)
		for i := range found {
			found[i] = "lines: " + found[i]
		}
		return found, nil
	}
	return f.run()
}

// pointSave is where a store fails.
const pointSave pipeline.Point = "save"

// hastyStore fails now and then; if it is hasty, it tells the source before it saves.
type hastyStore struct {
	memory
	source *tamperedSource
	cuts   *cutter
	hasty  bool
}

// Save implements pipeline.Store.
func (s *hastyStore) Save(ctx context.Context, c pipeline.Checkpoint) error {
	r := s.source.reader.Load()
	if r == nil { // a pipeline whose first save fails does not begin
		return s.memory.Save(ctx, c)
	}
	if s.hasty {
		if err := r.Ack(ctx, c.Position); err != nil {
			return err
		}
	}
	if err := s.cuts.point(pointSave); err != nil {
		return err
	}
	return s.memory.Save(ctx, c)
}

// keyed goes into a sink that keeps no position and counts what comes, with keys that
// are remembered; three minutes pass at each cut. The bug forgets after two.
func (a *attempt) keyed() []string {
	f := a.flight()
	pattern, err := dedup.Parse(dedup.Default)
	if err != nil {
		a.Fatal(err)
	}
	keys := &keyWindow{kept: map[string]keptKey{}}
	if a.planted() {
		keys.window = 2 * time.Minute
	}
	f.cuts = newCutter(a.seed, 20, pipeline.PointDurable)
	f.cuts.cut = func() { keys.pass(3 * time.Minute) }
	f.o.Sink, f.o.Store = &tamperedSink{Sink: f.o.Sink, outside: true}, &memory{}
	f.o.Dedup = &pipeline.Dedup{Store: keys, Pattern: pattern, Delivery: f.site.name}
	return f.run()
}

// keyWindow keeps keys for so long, by a clock of its own; for ever if that is 0.
type keyWindow struct {
	window time.Duration

	mu   sync.Mutex
	now  time.Duration
	kept map[string]keptKey
}

type keptKey struct {
	value string
	at    time.Duration
}

func (k *keyWindow) pass(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now += d
}

// Values implements entrain.KeyStore.
func (k *keyWindow) Values(_ context.Context, keys []string) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	values := make([]string, len(keys))
	for i, key := range keys {
		if kept := k.kept[key]; k.window == 0 || k.now-kept.at < k.window {
			values[i] = kept.value
		}
	}
	return values, nil
}

// Keep implements entrain.KeyStore.
func (k *keyWindow) Keep(_ context.Context, keys, values []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, key := range keys {
		k.kept[key] = keptKey{values[i], k.now}
	}
	return nil
}

// gated delivers older changes of accounts once more, as a replay does, into a sink with
// the version gate. The bug gives them a version of now.
func (a *attempt) gated() []string {
	f := a.flight()
	tables := []string{"journal", "ledger_seq", "marker"}
	for i := range accountTables {
		tables = append(tables, account(i))
	}
	var included []string
	for _, table := range tables {
		included = append(included, "public."+table)
	}
	var err error
	f.o.Source, err = postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(pgtest.SourceURL(f.site.source)), Pipeline: f.site.name,
		Create: true, Tables: postgres.Tables{Include: included}})
	if err != nil {
		a.Fatal(err)
	}
	sink, err := postgres.NewSink(postgres.SinkConfig{URL: connector.Secret(pgtest.TargetURL(f.site.target)), Pipeline: f.site.name, VersionGate: true})
	if err != nil {
		a.Fatal(err)
	}
	again := &redelivery{past: a.planted()}
	f.o.Sink = &tamperedSink{Sink: sink, write: again.write}
	f.judge = func(ctx context.Context) ([]string, error) {
		if again.times == 0 {
			a.Error("nothing was delivered again")
		}
		found, err := differing(ctx, f.site, tables)
		for i := range found {
			found[i] = "rows: " + found[i]
		}
		torn, err2 := wrongLedger(ctx, f.site.target)
		for _, w := range torn {
			found = append(found, "ledger: "+w)
		}
		return found, cmp.Or(err, err2)
	}
	return f.run()
}

// redelivery keeps changes and delivers them once more some batches later.
type redelivery struct {
	past bool // with a version of now

	kept   []entrain.Event
	behind int // batches since they were kept
	times  int
}

func (r *redelivery) write(ctx context.Context, w entrain.Writer, b *entrain.Batch) error {
	if err := w.Write(ctx, b); err != nil || b.Through.IsZero() || len(b.Events) == 0 {
		return err
	}
	if r.kept == nil {
		r.keep(b.Events)
		return nil
	}
	if r.behind++; r.behind < 10 {
		return nil
	}
	now := b.Events[len(b.Events)-1]
	for i := range r.kept {
		if r.past {
			r.kept[i].Tx.Version = now.Tx.Version
			r.kept[i].Ordinal = now.Ordinal + uint64(i) + 1
		}
	}
	again := &entrain.Batch{Events: r.kept, Through: b.Through, Replay: true}
	r.kept, r.behind = nil, 0
	r.times++
	return w.Write(ctx, again)
}

// keep keeps the updates of accounts.
func (r *redelivery) keep(events []entrain.Event) {
	for _, e := range events {
		if e.Op != entrain.OpUpdate || !strings.HasPrefix(e.Table.Name, "account_") {
			continue
		}
		tx := *e.Tx
		e.Tx, e.Before, e.After = &tx, slices.Clone(e.Before), slices.Clone(e.After)
		r.kept = append(r.kept, e)
	}
}

// prepared has transactions that are prepared, and then committed or rolled back. The
// bug takes PREPARE for COMMIT.
func (a *attempt) prepared() []string {
	f := a.flight()
	proxy := newPrepareProxy(a, a.srv.Addr())
	proxy.early = a.planted()
	var err error
	f.o.Source, err = postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(proxy.url(pgtest.SourceURL(f.site.source))), Pipeline: f.site.name, Create: true})
	if err != nil {
		a.Fatal(err)
	}
	during := f.during
	f.during = func() {
		conn := pgtest.Connect(a, f.site.source)
		for i, end := range []string{"ROLLBACK", "COMMIT", "ROLLBACK", "COMMIT", "COMMIT", "ROLLBACK"} {
			for _, sql := range []string{
				"BEGIN; INSERT INTO bulk SELECT nextval('bulk_seq'), 'prepared', 0 FROM generate_series(1, 3)",
				fmt.Sprintf("PREPARE TRANSACTION '%s %d'", f.site.name, i), fmt.Sprintf("%s PREPARED '%s %d'", end, f.site.name, i),
			} {
				if _, err := conn.Exec(a.Context(), sql).ReadAll(); err != nil {
					a.Fatal(err)
				}
				wait(a.Context(), 50*time.Millisecond)
			}
		}
		during()
	}
	return f.run()
}

// test is one of bugs in a pure core, which a test of its package finds.
type test struct{ pkg, bug string }

var testSays = regexp.MustCompile(`(?m)^\s+\S+_test\.go:\d+: ((?:history|case) .*)`)

// tested plays a bug of a pure core by the test that CI runs: it passes if its checker
// finds the bug, and says in which history.
func (a *attempt) tested() []string {
	of := a.mutant.test
	name := strings.ReplaceAll(of.bug, " ", "_")
	out, err := exec.CommandContext(a.Context(), "go", "test", "-count=1", "-v", "-run", "^TestBugs$/^"+name+"$", "github.com/entrainsync/entrain/"+of.pkg).CombinedOutput()
	says := testSays.FindSubmatch(out)
	if err != nil || says == nil || !strings.Contains(string(out), "--- PASS: TestBugs/"+name+" ") {
		a.Logf("%v: %s", err, tail(string(out), 2000))
		return nil
	}
	return []string{"TestBugs of " + of.pkg + ": " + string(says[1])}
}
