package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	barrier  func(context.Context) error
	listing  func()        // called once, before the tables are listed
	slow     time.Duration // how long a chunk takes
	chosen   string
	begun    int // chunks from a table's beginning
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
	listing := c.listing
	c.listing = nil
	c.mu.Unlock()
	if listing != nil {
		listing()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var listed []entrain.ChunkTable
	for i, t := range c.tables {
		if c.captured[i] {
			listed = append(listed, entrain.ChunkTable{Table: t, Rows: -1, Chosen: c.chosen})
		}
	}
	return listed, nil
}

// Settle lets everything become visible that is in the log now.
func (c *livingChunks) Settle(ctx context.Context) error {
	if err := c.fault(); err != nil {
		return err
	}
	c.mu.Lock()
	barrier := c.barrier
	c.mu.Unlock()
	if barrier != nil {
		if err := barrier(ctx); err != nil {
			return err
		}
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
	<-time.After(c.slow)
	c.mu.Lock()
	defer c.mu.Unlock()
	end := len(c.states) - 1
	seen := max(c.settled, end-c.rng.IntN(c.delayed+1))
	c.settled = seen // views only get to see more
	if q.Of == nil && q.After == nil {
		c.begun++
	}
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
	prefix  string          // of the names that tables have here
	relays  bool            // what it does is done elsewhere
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
	w := &livingWriter{s, nil}
	if s.relays {
		return relayWriter{w, w}, s.world.fault()
	}
	return w, s.world.fault()
}

// relayWriter is one that leads doubles on, as a stream does: it cannot remove one, and
// whoever misses one has nobody to tell.
type relayWriter struct {
	entrain.Writer
	entrain.Positioner
}

// livingWriter collects the parts of a transaction.
type livingWriter struct {
	*livingSink
	open []entrain.Event
}

func (w *livingWriter) DropDoubles(_ context.Context, keep []entrain.TableName) error {
	if err := w.world.fault(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.doubles, func(name string, _ entraintest.Rows) bool {
		return !slices.ContainsFunc(keep, func(t entrain.TableName) bool { return t.Schema+"."+strings.TrimPrefix(t.Name, w.prefix) == name })
	})
	return nil
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
	name := t.Schema + "." + strings.TrimPrefix(t.Name, s.prefix)
	rows := s.rows[name]
	if t.Shadow && e.Truncate != nil {
		s.doubles[name] = entraintest.Rows{}
	}
	if t.Shadow {
		rows = s.doubles[name]
	}
	if rows == nil && s.relays {
		return errors.New("nobody began the double of " + name)
	}
	if rows == nil {
		return &entrain.Stop{Code: "shadow_lost", Table: t}
	}
	if e.Op == entrain.OpReadEnd {
		return s.end(t, name, rows, e.Tx.Version/1000)
	}
	return settle(rows, e)
}

// end is the end of a table's rows: they are what the source had there.
func (s *livingSink) end(t *entrain.Table, name string, rows entraintest.Rows, n uint64) error {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	i := slices.IndexFunc(s.world.tables, func(k *entrain.Table) bool { return k.String() == name })
	if diff := rows.Diff(s.world.states[n][i]); diff != "" {
		return fmt.Errorf("at its end, at %d, %s differs:\n%s", n, t, diff)
	}
	if t.Shadow {
		s.rows[name] = rows
		delete(s.doubles, name)
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
