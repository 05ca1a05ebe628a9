package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// world is a random history of some tables, a source that can show it at any
// moment, and faults.
type world struct {
	*entraintest.MemorySource
	mu     sync.Mutex
	rng    *rand.Rand
	tables []*entrain.Table
	groups []int              // of the tables
	now    []entraintest.Rows // of the tables
	done   int                // transactions committed
	budget int                // faults that may still happen
}

var errFault = errors.New("planted fault")

func newWorld(seed uint64) *world {
	w := &world{
		MemorySource: entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 3}),
		rng:          rand.New(rand.NewPCG(seed, 7)), budget: int(seed % 5),
	}
	for i := range 1 + w.rng.IntN(3) {
		t := *entraintest.StandardTable()
		t.Name += strconv.Itoa(i)
		t.Version = t.Fingerprint()
		w.tables = append(w.tables, &t)
		w.groups = append(w.groups, w.rng.IntN(2))
		w.now = append(w.now, entraintest.Rows{})
	}
	return w
}

// fault fails now and then, as long as there is something left of the budget.
func (w *world) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.budget == 0 || w.rng.IntN(8) != 0 {
		return nil
	}
	w.budget--
	return entrain.Retryable(errFault)
}

// commit makes a few random transactions.
func (w *world) commit(upTo int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range w.rng.IntN(upTo + 1) {
		var events []entrain.Event
		for range 1 + w.rng.IntN(3) {
			i := w.rng.IntN(len(w.tables))
			e := w.event(w.tables[i], w.now[i])
			if err := w.apply(&e); err != nil {
				panic(err)
			}
			events = append(events, e)
		}
		w.Commit(events...)
		w.done++
	}
}

func (w *world) apply(e *entrain.Event) error {
	for i, t := range w.tables {
		if e.Table == t || e.Truncate != nil && slices.Contains(e.Truncate.Tables, t) {
			if err := w.now[i].Apply(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// event is a change that the table can have now.
func (w *world) event(t *entrain.Table, rows entraintest.Rows) entrain.Event {
	id := strconv.Itoa(w.rng.IntN(12))
	cell := func() entraintest.Cell { return entraintest.Text(strconv.Itoa(w.rng.IntN(1000))) }
	switch {
	case w.rng.IntN(25) == 0:
		return entraintest.Truncate(w.tables[:1+w.rng.IntN(len(w.tables))]...)
	case rows[id] == nil:
		return entraintest.Insert(t, entraintest.Text(id), cell(), cell(), entraintest.Null)
	case w.rng.IntN(2) == 0:
		return entraintest.Delete(t, id)
	}
	return entraintest.Update(t, entraintest.Text(id), cell(), entraintest.Unchanged, cell())
}

// Snapshot implements entrain.Snapshotter. While it is opened and read, the
// history goes on.
func (w *world) Snapshot(_ context.Context, r entrain.SnapshotRequest) (entrain.Snapshot, error) {
	if err := w.fault(); err != nil {
		return nil, err
	}
	from := w.position()
	w.commit(3)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &view{world: w, point: entrain.SnapshotPoint{
		Stream: &entrain.Stream{Source: "source", Incarnation: "memory"}, Version: uint64(1000*w.done + 1), From: from,
	}}
	if r.Standalone {
		s.point.From = entrain.Position{}
	}
	for i, t := range w.tables {
		s.rows = append(s.rows, w.now[i].Clone())
		s.tables = append(s.tables, entrain.SnapshotTable{Table: t, Rows: int64(len(w.now[i])), Parts: 1 + w.rng.IntN(3), Group: w.groups[i]})
	}
	return s, nil
}

// position is what the source keeps for the stream: the last acknowledged one.
func (w *world) position() entrain.Position {
	at := entrain.Position{Incarnation: "memory", Offset: "0"}
	if acks := w.Acks(); len(acks) > 0 {
		at = acks[len(acks)-1]
	}
	return at
}

type view struct {
	*world
	point  entrain.SnapshotPoint
	tables []entrain.SnapshotTable
	rows   []entraintest.Rows
}

func (s *view) Point() entrain.SnapshotPoint    { return s.point }
func (s *view) Tables() []entrain.SnapshotTable { return s.tables }
func (s *view) Close() error                    { return nil }
func (s *view) Read(_ context.Context, p entrain.SnapshotPart) (entrain.RowReader, error) {
	s.commit(1)
	r := &viewRows{view: s, table: s.tables[p.Table].Table}
	for i, key := range keysOf(s.rows[p.Table]) {
		if i%s.tables[p.Table].Parts == p.Number {
			r.cells = append(r.cells, s.rows[p.Table][key])
		}
	}
	return r, s.fault()
}

type viewRows struct {
	*view
	table *entrain.Table
	cells [][]entraintest.Cell
	read  int
}

func (r *viewRows) Close() error { return nil }
func (r *viewRows) Read(context.Context) (*entrain.Batch, error) {
	if err := r.fault(); err != nil {
		return nil, err
	}
	if r.read == len(r.cells) {
		return nil, io.EOF
	}
	tx := &entrain.Transaction{Stream: r.point.Stream, Version: r.point.Version}
	b := &entrain.Batch{Events: []entrain.Event{{
		Op: entrain.OpRead, Ordinal: uint64(r.read), Table: r.table, Tx: tx, After: entraintest.Row(r.table, r.cells[r.read]...),
	}}}
	r.read++
	return b, nil
}

func keysOf(rows entraintest.Rows) []string {
	var keys []string
	for k := range rows {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ledgerStore is a store that keeps all, and fails now and then.
type ledgerStore struct {
	memoryStore
	world  *world
	ledger pipeline.Ledger
}

func (s *ledgerStore) LoadLedger(context.Context) (pipeline.Ledger, error) { return s.ledger, nil }

func (s *ledgerStore) SaveLedger(ctx context.Context, l pipeline.Ledger, c *pipeline.Checkpoint) error {
	if err := s.world.fault(); err != nil {
		return err
	}
	s.ledger = l
	if c != nil {
		return s.Save(ctx, *c)
	}
	return nil
}

// loaderSink keeps rows and position together, and loads. It takes nothing that
// does not fit what is there.
type loaderSink struct {
	world *world
	mu    sync.Mutex
	rows  map[string]entraintest.Rows
	at    entrain.Position
	loads map[string]bool // under way
	notes map[string]string
}

func (s *loaderSink) Open(context.Context) (entrain.Writer, error) {
	return &loaderWriter{s}, s.world.fault()
}

type loaderWriter struct{ *loaderSink }

func (w *loaderWriter) Position(context.Context) (entrain.Position, error) { return w.at, nil }
func (w *loaderWriter) Close() error                                       { return nil }
func (w *loaderWriter) Write(_ context.Context, b *entrain.Batch) error {
	if err := w.world.fault(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.Through.IsZero() {
		return errors.New("this sink takes whole transactions")
	}
	for i := range b.Events {
		if err := w.apply(&b.Events[i]); err != nil {
			return fmt.Errorf("event %s: %w", b.Events[i].ID(), err)
		}
	}
	w.at = b.Through
	return nil
}

func (s *loaderSink) apply(e *entrain.Event) error {
	tables := []*entrain.Table{e.Table}
	if e.Truncate != nil {
		tables = e.Truncate.Tables
	}
	for _, t := range tables {
		if e.Op == entrain.OpReadEnd {
			continue
		}
		if s.loads[t.String()] {
			return errors.New("a change of a table that is being loaded")
		}
		if err := s.rows[t.String()].Apply(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *loaderSink) Load(_ context.Context, t entrain.SnapshotTable) (entrain.TableLoad, error) {
	if err := s.world.fault(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := t.Table.String()
	if s.rows[name] != nil && !s.loads[name] && s.world.alone(t.Table) {
		return nil, fmt.Errorf("%s is loaded again although it was finished", name)
	}
	delete(s.notes, name)
	s.rows[name], s.loads[name] = entraintest.Rows{}, true
	return &loaderTable{loaderSink: s, name: name}, nil
}

func (s *loaderSink) Notes(context.Context) ([]string, error) {
	return slices.Collect(maps.Values(s.notes)), s.world.fault()
}

// Complete wants the tables of a group to have their rows of one moment, as
// references would.
func (s *loaderSink) Complete(_ context.Context, tables []entrain.SnapshotTable) error {
	moments := map[int]uint64{}
	for _, t := range tables {
		var note pipeline.CopiedTable
		if err := json.Unmarshal([]byte(s.notes[t.Table.String()]), &note); err != nil {
			return fmt.Errorf("the note of %s: %w", t.Table, err)
		}
		if at, other := moments[t.Group]; t.Group != 0 && other && at != note.Version {
			return fmt.Errorf("tables of group %d are of moments %d and %d", t.Group, at, note.Version)
		}
		moments[t.Group] = note.Version
	}
	return s.world.fault()
}

func (s *loaderSink) Forget(context.Context) error {
	s.notes = map[string]string{}
	return s.world.fault()
}

// alone reports whether no other table is tied to this one.
func (w *world) alone(t *entrain.Table) bool {
	i := slices.Index(w.tables, t)
	for j, group := range w.groups {
		if j != i && group != 0 && group == w.groups[i] {
			return false
		}
	}
	return true
}

type loaderTable struct {
	*loaderSink
	name   string
	closed atomic.Bool
}

func (l *loaderTable) Part(ctx context.Context, r entrain.RowReader) (int64, error) {
	runtime.Gosched()
	if l.closed.Load() {
		return 0, errors.New("the load is closed")
	}
	var events []entrain.Event
	for {
		b, err := r.Read(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		events = append(events, b.Events...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		if err := l.rows[l.name].Apply(&events[i]); err != nil {
			return 0, err
		}
	}
	return int64(len(events)), l.world.fault()
}

func (l *loaderTable) Finish(_ context.Context, note string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.world.fault()
	if err == nil {
		delete(l.loads, l.name)
		l.notes[l.name] = note
	}
	return err
}

func (l *loaderTable) Close() error {
	l.closed.Store(true)
	return nil
}

// TestSnapshotHistories proves P1 to P3 for the copying of existing rows: over
// random histories that go on meanwhile, with faults at every step, the sink has
// in the end what the source has, without a change lost or applied twice.
func TestSnapshotHistories(t *testing.T) {
	for seed := range uint64(4000) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(seed)
			w.commit(12)
			if seed%2 == 0 {
				sink := &loaderSink{world: w, rows: map[string]entraintest.Rows{}, loads: map[string]bool{}, notes: map[string]string{}}
				w.copyAndFollow(t, seed, sink)
				w.compare(t, seed, func(name string) entraintest.Rows { return sink.rows[name] })
				return
			}
			fault := func(context.Context, *entrain.Batch) error { return w.fault() }
			config := entraintest.MemorySinkConfig{Keeps: entraintest.KeepsMark, BeforeWrite: fault}
			if seed%4 == 1 {
				config.Keeps, config.AfterCommit = entraintest.KeepsPosition, fault
			}
			sink := entraintest.NewMemorySink(config)
			w.copyAndFollow(t, seed, sink)
			w.compare(t, seed, sink.Rows)
		})
		if t.Failed() {
			return
		}
	}
}

// TestLargeGroup: a position stays small, however many tables are tied together,
// and a crash right behind it forgets none of them.
func TestLargeGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tables = 3000
		w := newWorld(0)
		w.budget, w.tables, w.groups, w.now = 0, nil, nil, nil
		for i := range tables {
			table := *entraintest.StandardTable()
			table.Name += strconv.Itoa(i)
			table.Version = table.Fingerprint()
			rows := entraintest.Rows{"1": {entraintest.Text("1"), entraintest.Text("a"), entraintest.Text("b"), entraintest.Null}}
			w.tables, w.groups, w.now = append(w.tables, &table), append(w.groups, 1), append(w.now, rows)
		}
		crashes, longest, copies := 1, 0, 0
		config := entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, AfterCommit: func(_ context.Context, b *entrain.Batch) error {
			longest = max(longest, len(b.Through.Offset))
			if strings.HasPrefix(b.Through.Offset, "copying") {
				copies++
			}
			if crashes--; crashes == 0 {
				return entrain.Retryable(errFault)
			}
			return nil
		}}
		sink := entraintest.NewMemorySink(config)
		w.copyAndFollow(t, 1, sink)
		w.compare(t, 1, sink.Rows)
		if longest > 500 || crashes > 0 || copies != 1 {
			t.Errorf("the longest position has %d bytes; %d crashes left; copied %d times", longest, crashes, copies)
		}
	})
}

// copyAndFollow runs pipelines until one ends well: each is a process that
// dies at a fault before its first session is up.
func (w *world) copyAndFollow(t *testing.T, seed uint64, sink entrain.Sink) {
	t.Helper()
	store := &ledgerStore{world: w}
	for range 20 {
		_, err := run(t, pipeline.Options{
			Source: w, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{Mode: pipeline.SnapshotInitial, Parallel: 1 + int(seed%3)},
		})
		if err == nil {
			return
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Fatalf("seed %d: no run ended well", seed)
}

func (w *world) compare(t *testing.T, seed uint64, sink func(name string) entraintest.Rows) {
	t.Helper()
	for i, table := range w.tables {
		if diff := sink(table.String()).Diff(w.now[i]); diff != "" {
			t.Errorf("seed %d: table %s:\n%s", seed, table, diff)
		}
	}
}

// TestCopyStops proves P5 for what a ledger says: a sink that does not know of the
// tables, a copy that is not finished, and one that no stream can join.
func TestCopyStops(t *testing.T) {
	for name, c := range map[string]struct {
		mode   pipeline.SnapshotMode
		ledger func(table *entrain.Table) pipeline.Ledger
		code   string
	}{
		"another sink": {pipeline.SnapshotInitial, func(table *entrain.Table) pipeline.Ledger {
			return pipeline.Ledger{Incarnation: "memory", Tables: []pipeline.CopiedTable{{Schema: table.Schema, Name: table.Name, Incarnation: "memory", Version: 1}}}
		}, "copy_lost"},
		"never in the middle": {pipeline.SnapshotNever, func(table *entrain.Table) pipeline.Ledger {
			return pipeline.Ledger{Incarnation: "memory", Tables: []pipeline.CopiedTable{{Schema: table.Schema, Name: table.Name}}}
		}, "snapshot_unfinished"},
		"another history": {pipeline.SnapshotInitial, func(table *entrain.Table) pipeline.Ledger {
			return pipeline.Ledger{Incarnation: "other", Tables: []pipeline.CopiedTable{{Schema: table.Schema, Name: table.Name}}}
		}, "snapshot_interrupted"},
		"begun elsewhere": {pipeline.SnapshotInitial, func(*entrain.Table) pipeline.Ledger { return pipeline.Ledger{} }, "snapshot_elsewhere"},
		"a copy by itself": {pipeline.SnapshotInitial, func(*entrain.Table) pipeline.Ledger {
			return pipeline.Ledger{Incarnation: "memory", Complete: true}
		}, "snapshot_alone"},
	} {
		w := newWorld(0)
		w.budget = 0
		w.commit(12)
		sink := &loaderSink{world: w, rows: map[string]entraintest.Rows{}, loads: map[string]bool{}, notes: map[string]string{}}
		if name == "begun elsewhere" {
			sink.at = entrain.Position{Incarnation: "memory", Offset: "copying []"}
		}
		store := &ledgerStore{world: w, ledger: c.ledger(w.tables[0])}
		_, err := run(t, pipeline.Options{Source: w, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{Mode: c.mode}})
		var stop *entrain.Stop
		if !errors.As(err, &stop) || stop.Code != c.code || stop.Next == "" {
			t.Errorf("%s: %v, want the stop %s", name, err, c.code)
		}
	}
}
