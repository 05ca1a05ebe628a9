package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// living is a random history of tables that can be read in chunks at any moment,
// with a view that may lag behind the log. A table that is not captured changes
// without a word in the log.
type living struct {
	*entraintest.MemorySource
	mu       sync.Mutex
	rng      *rand.Rand
	tables   []*entrain.Table
	captured []bool
	states   [][]entraintest.Rows // after each position, of the tables
	budget   int                  // faults that may still happen
	delayed  int                  // how many of the last transactions views may lack
	settled  int                  // the position up to which all views see everything
}

func newLiving(seed uint64) *living {
	w := &living{
		MemorySource: entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 3}),
		rng:          rand.New(rand.NewPCG(seed, 11)), budget: int(seed % 4), delayed: int(seed / 4 % 3),
	}
	for i := range 3 {
		t := *entraintest.StandardTable()
		t.Name += strconv.Itoa(i)
		t.Version = t.Fingerprint()
		w.tables = append(w.tables, &t)
		w.captured = append(w.captured, i > 0)
	}
	w.states = [][]entraintest.Rows{{{}, {}, {}}}
	return w
}

func (w *living) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.budget == 0 || w.rng.IntN(10) != 0 {
		return nil
	}
	w.budget--
	return entrain.Retryable(errFault)
}

// commit makes up to so many random transactions.
func (w *living) commit(upTo int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range w.rng.IntN(upTo + 1) {
		w.transaction()
	}
}

func (w *living) transaction() {
	last := w.states[len(w.states)-1]
	now := make([]entraintest.Rows, len(last))
	for i := range last {
		now[i] = last[i].Clone()
	}
	var events []entrain.Event
	for range 1 + w.rng.IntN(4) {
		i := w.rng.IntN(len(w.tables))
		e := w.event(w.tables[i], now[i])
		if err := now[i].Apply(&e); err != nil {
			panic(err)
		}
		if w.captured[i] {
			events = append(events, e)
		}
	}
	w.states = append(w.states, now)
	w.Commit(events...)
}

func (w *living) event(t *entrain.Table, rows entraintest.Rows) entrain.Event {
	id, other := strconv.Itoa(w.rng.IntN(12)), strconv.Itoa(w.rng.IntN(12))
	cell := func() entraintest.Cell { return entraintest.Text(strconv.Itoa(w.rng.IntN(1000))) }
	body := cell()
	if w.rng.IntN(2) == 0 {
		body = entraintest.Unchanged
	}
	switch {
	case w.rng.IntN(30) == 0:
		return entraintest.Truncate(t)
	case rows[id] == nil:
		return entraintest.Insert(t, entraintest.Text(id), cell(), cell(), entraintest.Null)
	case w.rng.IntN(3) == 0 && rows[other] == nil:
		return entraintest.Rekey(t, []string{id}, entraintest.Text(other), cell(), body, cell())
	case w.rng.IntN(2) == 0:
		return entraintest.Delete(t, id)
	}
	return entraintest.Update(t, entraintest.Text(id), cell(), body, cell())
}

func (w *living) AddTable(_ context.Context, schema, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, t := range w.tables {
		if t.Schema == schema && t.Name == name {
			w.captured[i] = true
			return nil
		}
	}
	return errors.New("no such table")
}

func (w *living) Chunks(context.Context) (entrain.ChunkSession, error) {
	return &livingChunks{w}, w.fault()
}

type livingChunks struct{ *living }

func (c *livingChunks) Close() error { return nil }

func (c *livingChunks) Tables(context.Context) ([]entrain.ChunkTable, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var listed []entrain.ChunkTable
	for i, t := range c.tables {
		if c.captured[i] {
			listed = append(listed, entrain.ChunkTable{Table: t, Rows: -1})
		}
	}
	return listed, nil
}

// Settle lets everything become visible that is in the log now.
func (c *livingChunks) Settle(context.Context) error {
	if err := c.fault(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = len(c.states) - 1
	c.beat()
	return nil
}

// beat moves the stream's position; w.mu is held.
func (w *living) beat() {
	w.states = append(w.states, w.states[len(w.states)-1])
	w.Commit()
}

func (c *livingChunks) Read(_ context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	c.commit(2)
	if err := c.fault(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end := len(c.states) - 1
	seen := max(c.settled, end-c.rng.IntN(c.delayed+1))
	c.settled = seen // views only get to see more
	chunk := &entrain.Chunk{
		Table: q.Table, View: entrain.View{Min: 700 + uint64(seen) + 1, Max: 700 + uint64(seen) + 1}, Version: uint64(1000*end + 1),
		Reached: func(at entrain.Position) bool {
			n, err := strconv.Atoi(at.Offset)
			return err == nil && n >= end
		},
	}
	rows := c.states[seen][slices.Index(c.tables, q.Table)]
	for _, key := range keysOf(rows) {
		switch {
		case q.Of != nil && key != q.Of[0] || q.Of == nil && q.After != nil && key <= q.After[0]:
			continue
		case len(chunk.Rows) == min(q.Rows, 3):
			chunk.More = true
			continue
		}
		chunk.Rows = append(chunk.Rows, entraintest.Row(q.Table, rows[key]...))
		chunk.Last = []string{key}
	}
	c.beat()
	return chunk, nil
}

// tableStore keeps everything in memory and fails now and then.
type tableStore struct {
	memoryStore
	world *living
	mu    sync.Mutex
	lives []byte
}

func (s *tableStore) LoadTables(context.Context) ([]pipeline.TableLife, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lives []pipeline.TableLife
	if s.lives == nil {
		return nil, nil
	}
	return lives, json.Unmarshal(s.lives, &lives)
}

func (s *tableStore) SaveTables(ctx context.Context, lives []pipeline.TableLife, c *pipeline.Checkpoint) error {
	if err := s.world.fault(); err != nil {
		return err
	}
	text, err := json.Marshal(lives)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives = text
	if c != nil {
		return s.Save(ctx, *c)
	}
	return nil
}

// livingSink keeps rows and position together, knows doubles, and takes nothing
// that does not fit, unless the table is settling.
type livingSink struct {
	world   *living
	mu      sync.Mutex
	rows    map[string]entraintest.Rows
	doubles map[string]entraintest.Rows
	refuse  map[string]bool // tables of which every row is refused
	at      entrain.Position
}

func newLivingSink(w *living) *livingSink {
	s := &livingSink{world: w, rows: map[string]entraintest.Rows{}, doubles: map[string]entraintest.Rows{}, refuse: map[string]bool{}}
	for _, t := range w.tables {
		s.rows[t.String()] = entraintest.Rows{}
	}
	return s
}

func (s *livingSink) Open(context.Context) (entrain.Writer, error) {
	return &livingWriter{s, nil}, s.world.fault()
}

// livingWriter collects the parts of a transaction.
type livingWriter struct {
	*livingSink
	open []entrain.Event
}

func (w *livingWriter) Position(context.Context) (entrain.Position, error) { return w.at, nil }
func (w *livingWriter) Close() error                                       { return nil }

func (w *livingWriter) Write(_ context.Context, b *entrain.Batch) error {
	for _, e := range b.Events {
		tx := *e.Tx
		e.Tx, e.Before, e.After = &tx, slices.Clone(e.Before), slices.Clone(e.After)
		if e.Truncate != nil {
			e.Truncate = &entrain.Truncate{Tables: slices.Clone(e.Truncate.Tables)}
		}
		w.open = append(w.open, e)
	}
	if b.Through.IsZero() {
		return nil
	}
	if err := w.world.fault(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.open {
		if t := w.open[i].Table; t != nil && w.refuse[t.String()] {
			return &entrain.Stop{Code: "row_refused", Data: true, Table: t}
		}
	}
	rows, doubles := copyOf(w.rows), copyOf(w.doubles)
	for i := range w.open {
		if err := w.apply(&w.open[i]); err != nil {
			w.rows, w.doubles = rows, doubles
			return fmt.Errorf("event %s: %w", w.open[i].ID(), err)
		}
	}
	w.at, w.open = b.Through, nil
	return w.world.fault() // it is durable, but nobody gets to know
}

func copyOf(tables map[string]entraintest.Rows) map[string]entraintest.Rows {
	same := map[string]entraintest.Rows{}
	for name, rows := range tables {
		same[name] = rows.Clone()
	}
	return same
}

func (s *livingSink) apply(e *entrain.Event) error {
	tables := []*entrain.Table{e.Table}
	if e.Truncate != nil {
		tables = e.Truncate.Tables
	}
	for _, t := range tables {
		if t.Shadow && len(tables) > 1 {
			return errors.New("a truncate of a double and of others")
		}
		if err := s.applyTo(t, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *livingSink) applyTo(t *entrain.Table, e *entrain.Event) error {
	name := t.String()
	rows := s.rows[name]
	if t.Shadow && e.Truncate != nil {
		s.doubles[name] = entraintest.Rows{}
	}
	if t.Shadow {
		rows = s.doubles[name]
	}
	if rows == nil {
		return &entrain.Stop{Code: "shadow_lost", Table: t}
	}
	if e.Op == entrain.OpReadEnd {
		return s.end(t, rows, e.Tx.Version/1000)
	}
	return settle(rows, e)
}

// end is the end of a table's rows: they are what the source had there.
func (s *livingSink) end(t *entrain.Table, rows entraintest.Rows, n uint64) error {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	i := slices.IndexFunc(s.world.tables, func(k *entrain.Table) bool { return k.Name == t.Name })
	if diff := rows.Diff(s.world.states[n][i]); diff != "" {
		return fmt.Errorf("at its end, at %d, %s differs:\n%s", n, t, diff)
	}
	if t.Shadow {
		s.rows[t.String()] = rows
		delete(s.doubles, t.String())
	}
	return nil
}

// settle applies an event as [entrain.Event.Settling] wants it.
func settle(rows entraintest.Rows, e *entrain.Event) error {
	if !e.Settling {
		return rows.Apply(e)
	}
	switch e.Op {
	case entrain.OpInsert, entrain.OpRead:
		delete(rows, entraintest.Cells(e.Table, e.After)[0].Text)
		return rows.Apply(e)
	case entrain.OpUpdate:
		after := entraintest.Cells(e.Table, e.After)
		if len(e.Before) > 0 && !slices.Contains(after, entraintest.Unchanged) {
			delete(rows, entraintest.Cells(e.Table, e.Before)[0].Text)
			rows[after[0].Text] = after
			return nil
		}
		key := after[0].Text
		if len(e.Before) > 0 {
			key = entraintest.Cells(e.Table, e.Before)[0].Text
		}
		if rows[key] == nil {
			return nil
		}
		return rows.Apply(e)
	case entrain.OpDelete:
		delete(rows, entraintest.Cells(e.Table, e.Before)[0].Text)
		return nil
	}
	return rows.Apply(e)
}

// TestTableHistories proves P1 to P3 for tables that are added, refreshed, paused,
// held and resynced while changes flow, over random histories with faults at
// every step and processes that die: in the end the sink has what the source has.
func TestTableHistories(t *testing.T) {
	first, n := uint64(0), uint64(2000)
	if one, err := strconv.ParseUint(os.Getenv("ENTRAIN_TEST_SEED"), 10, 64); err == nil {
		first, n = one, 1
	}
	if wide, err := strconv.ParseUint(os.Getenv("ENTRAIN_TEST_HISTORIES"), 10, 64); err == nil {
		n = wide
	}
	for seed := first; seed < first+n; seed++ {
		synctest.Test(t, func(t *testing.T) { livingHistory(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func livingHistory(t *testing.T, seed uint64) {
	w := newLiving(seed)
	w.commit(15)
	sink, store := newLivingSink(w), &tableStore{world: w}
	for range 3 {
		process(t, seed, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) { orders(t, w, p) })
	}
	w.mu.Lock()
	w.budget = 0
	w.mu.Unlock()
	process(t, seed, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) { finish(t, seed, w, p) })
	for i, table := range w.tables {
		if diff := sink.rows[table.String()].Diff(w.states[len(w.states)-1][i]); diff != "" {
			t.Errorf("seed %d: %s differs:\n%s", seed, table, diff)
		}
	}
}

// process runs a pipeline while do is at work, and ends it.
func process(t *testing.T, seed uint64, o pipeline.Options, do func(*pipeline.Pipeline)) {
	t.Helper()
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- p.Run(ctx) }()
	do(p)
	synctest.Wait()
	stop()
	if err := <-result; err != nil && !errors.Is(err, errFault) {
		t.Fatalf("seed %d: %v", seed, err)
	}
}

// orders gives random orders while the history goes on. Many make no sense.
func orders(t *testing.T, w *living, p *pipeline.Pipeline) {
	verbs := []pipeline.Verb{pipeline.OrderAdd, pipeline.OrderPause, pipeline.OrderResume, pipeline.OrderResync,
		pipeline.OrderResync, pipeline.OrderRefresh, pipeline.OrderHold, pipeline.OrderCancel}
	for range w.rng.IntN(8) {
		w.commit(3)
		w.mu.Lock()
		o := pipeline.Order{Do: verbs[w.rng.IntN(len(verbs))], Table: w.tables[w.rng.IntN(len(w.tables))].String()}
		pause := time.Duration(w.rng.IntN(40)) * time.Millisecond
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_ = p.Do(ctx, o)
		cancel()
		<-time.After(pause)
	}
}

// finish brings all tables to where they stream, and waits for it.
func finish(t *testing.T, seed uint64, w *living, p *pipeline.Pipeline) {
	_ = p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderAdd, Table: w.tables[0].String()})
	for range 200 {
		w.commit(2)
		<-time.After(500 * time.Millisecond)
		if streaming(t, seed, p) == len(w.tables) {
			return
		}
	}
	list, _ := p.Tables(t.Context())
	t.Fatalf("seed %d: not all tables stream: %+v; %+v", seed, list, p.Status())
}

// streaming counts the tables that stream, and resumes those that wait for it.
func streaming(t *testing.T, seed uint64, p *pipeline.Pipeline) (n int) {
	list, err := p.Tables(t.Context())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, st := range list {
		if st.State == pipeline.TableStreaming {
			n++
		}
		if st.State != pipeline.TablePaused && !st.Held {
			continue
		}
		if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResume, Table: st.Table}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	return n
}

// TestFailedTable has the sink refuse one table: it fails, the others flow on, and
// a resync brings it back.
func TestFailedTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink, store := newLivingSink(w), &tableStore{world: w}
		bad := w.tables[1]
		o := pipeline.Options{Source: w, Sink: sink, Store: store, OnTableError: pipeline.TableErrorResync}
		process(t, 0, o, func(p *pipeline.Pipeline) {
			w.commit(9)
			synctest.Wait()
			sink.mu.Lock()
			sink.refuse[bad.String()] = true
			sink.mu.Unlock()
			for range 20 {
				w.commit(3)
				<-time.After(time.Second)
			}
			if got := stateOf(t, p, bad); got.State != pipeline.TableFailed || got.Reason == "" {
				t.Errorf("the table is %+v, expected it to have failed with a reason", got)
			}
			if diff := sink.rows[w.tables[2].String()].Diff(w.states[len(w.states)-1][2]); diff != "" {
				t.Errorf("another table did not flow on:\n%s", diff)
			}
			sink.mu.Lock()
			sink.refuse = map[string]bool{}
			sink.mu.Unlock()
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: bad.String()}); err != nil {
				t.Fatal(err)
			}
			finish(t, 0, w, p)
		})
		if diff := sink.rows[bad.String()].Diff(w.states[len(w.states)-1][1]); diff != "" {
			t.Errorf("after the resync:\n%s", diff)
		}
	})
}

// TestFailedTableStops is the same by the default: the pipeline ends.
func TestFailedTableStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink := newLivingSink(w)
		sink.refuse[w.tables[1].String()] = true
		w.commit(20)
		p, err := pipeline.New(pipeline.Options{Source: w, Sink: sink, Store: &tableStore{world: w}})
		if err != nil {
			t.Fatal(err)
		}
		var stop *entrain.Stop
		if err := p.Run(t.Context()); !errors.As(err, &stop) || stop.Code != "row_refused" {
			t.Errorf("run ended with %v, expected the sink's stop", err)
		}
	})
}

func stateOf(t *testing.T, p *pipeline.Pipeline, table *entrain.Table) pipeline.TableStatus {
	t.Helper()
	list, err := p.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		if st.Table == table.String() {
			return st
		}
	}
	t.Fatalf("table %s is not listed: %+v", table, list)
	return pipeline.TableStatus{}
}

// TestOrdersThatMakeNoSense are refused with a code and the next command, and
// change nothing.
func TestOrdersThatMakeNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		captured, other := w.tables[1].String(), w.tables[0].String()
		process(t, 0, pipeline.Options{Source: w, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			for _, c := range []struct {
				do          pipeline.Verb
				table, code string
			}{
				{pipeline.OrderResume, captured, "table_state"},
				{pipeline.OrderHold, captured, "table_state"},
				{pipeline.OrderCancel, captured, "table_state"},
				{pipeline.OrderPause, other, "table_unknown"},
				{pipeline.OrderResync, other, "table_unknown"},
				{pipeline.OrderResync, "orders", "table_name"},
				{pipeline.OrderHold, "", "not_copying"},
			} {
				var stop *entrain.Stop
				err := p.Do(t.Context(), pipeline.Order{Do: c.do, Table: c.table})
				if !errors.As(err, &stop) || stop.Code != c.code || stop.Next == "" {
					t.Errorf("%s %q: %v, expected the stop %s", c.do, c.table, err, c.code)
				}
			}
			if got := stateOf(t, p, w.tables[1]).State; got != pipeline.TableStreaming {
				t.Errorf("the table is %s", got)
			}
		})
	})
}
