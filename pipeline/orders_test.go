package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestOrdersForAll: all copying is held, held again, resumed and cancelled without a
// table's name; tables that are held already, or done, hinder no other.
func TestOrdersForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(15)
		gate := &gatedChunks{living: w, open: make(chan struct{})}
		process(t, 0, pipeline.Options{Source: gate, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			order := func(do pipeline.Verb, table string) {
				t.Helper()
				if err := p.Do(t.Context(), pipeline.Order{Do: do, Table: table}); err != nil {
					t.Fatalf("%s %q: %v", do, table, err)
				}
			}
			order(pipeline.OrderResync, w.tables[1].String())
			order(pipeline.OrderResync, w.tables[2].String())
			order(pipeline.OrderHold, w.tables[1].String())
			order(pipeline.OrderHold, "")
			for _, table := range w.tables[1:] {
				if got := stateOf(t, p, table); !got.Held {
					t.Errorf("after all was held: %+v", got)
				}
			}
			order(pipeline.OrderResume, "")
			for _, table := range w.tables[1:] {
				if got := stateOf(t, p, table); got.Held || got.State != pipeline.TableResyncing {
					t.Errorf("after all was resumed: %+v", got)
				}
			}
			close(gate.open)
			finish(t, 0, w, p)
		})
	})
}

// gatedChunks settle only once the gate is open; or first give a chunk of each table.
type gatedChunks struct {
	*living
	open    chan struct{}
	settle  bool
	settles atomic.Int32 // before the first read
	read    atomic.Bool
}

func (g *gatedChunks) Chunks(ctx context.Context) (entrain.ChunkSession, error) {
	s, err := g.living.Chunks(ctx)
	return &gatedSession{s, g}, err
}

type gatedSession struct {
	entrain.ChunkSession
	gate *gatedChunks
}

func (g *gatedChunks) wait(ctx context.Context) error {
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *gatedSession) Settle(ctx context.Context) error {
	if !s.gate.read.Load() {
		s.gate.settles.Add(1)
	}
	if !s.gate.settle {
		if err := s.gate.wait(ctx); err != nil {
			return err
		}
	}
	return s.ChunkSession.Settle(ctx)
}

func (s *gatedSession) Read(ctx context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	if q.Rows > 1 { // else an order tries it
		s.gate.read.Store(true)
	}
	if q.After != nil {
		if err := s.gate.wait(ctx); err != nil {
			return nil, err
		}
	}
	return s.ChunkSession.Read(ctx, q)
}

// TestOrderedAtTheBarrier: a copy that is begun anew while the barrier is awaited has not
// seen what came before, so that it needs a barrier of its own.
func TestOrderedAtTheBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(15)
		gate := &gatedChunks{living: w, open: make(chan struct{})}
		process(t, 0, pipeline.Options{Source: gate, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			for _, do := range []pipeline.Verb{pipeline.OrderResync, pipeline.OrderHold, pipeline.OrderResume} {
				if err := p.Do(t.Context(), pipeline.Order{Do: do, Table: w.tables[1].String()}); err != nil {
					t.Fatalf("%s: %v", do, err)
				}
				synctest.Wait()
			}
			close(gate.open)
			<-time.After(time.Second)
			if n := gate.settles.Load(); n != 2 || !gate.read.Load() {
				t.Errorf("%d barriers before the first chunk", n)
			}
		})
	})
}

// renaming is a rule that gives every table another name, and does something as it
// sees the beginning of a double.
func renaming(prefix string, begins func()) pipeline.Options {
	rename := func(t *entrain.Table) (*entrain.Table, error) {
		to := *t
		to.Name = prefix + strings.TrimPrefix(to.Name, prefix)
		return &to, nil
	}
	apply := func(b *entrain.Batch) (*entrain.Batch, error) {
		for i := range b.Events {
			e := &b.Events[i]
			if e.Table != nil {
				e.Table, _ = rename(e.Table)
			}
			if e.Truncate == nil {
				continue
			}
			if e.Ordinal >= 3<<62 {
				begins()
			}
			var to []*entrain.Table
			for _, t := range e.Truncate.Tables {
				named, _ := rename(t)
				to = append(to, named)
			}
			e.Truncate = &entrain.Truncate{Tables: to}
		}
		return b, nil
	}
	return pipeline.Options{Transform: apply, Snapshot: pipeline.Snapshot{TransformTable: rename}}
}

// TestCancelledAsItBegins cancels a resync in the moment in which its double is begun:
// what would begin the double must not empty the table itself.
func TestCancelledAsItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink := newLivingSink(w)
		table := w.tables[1]
		var p *pipeline.Pipeline
		var begun atomic.Int32
		o := renaming("", func() {
			if begun.Add(1) > 1 {
				return
			}
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderCancel}); err != nil {
				t.Errorf("cancel: %v", err)
			}
		})
		o.Source, o.Sink, o.Store = w, sink, &tableStore{world: w}
		process(t, 0, o, func(running *pipeline.Pipeline) {
			p = running
			w.commit(40)
			synctest.Wait()
			before := len(sink.rows[table.String()])
			if before == 0 {
				t.Fatal("there are no rows that could get lost")
			}
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: table.String()}); err != nil {
				t.Fatal(err)
			}
			w.mu.Lock()
			w.beat()
			w.mu.Unlock()
			<-time.After(time.Second)
			if got := stateOf(t, p, table).State; got != pipeline.TablePaused || begun.Load() == 0 {
				t.Errorf("the table is %s, and %d doubles began", got, begun.Load())
			}
			sink.mu.Lock()
			if len(sink.rows[table.String()]) == 0 { // a few changes came before the order
				t.Errorf("the table is empty, it had %d rows", before)
			}
			sink.mu.Unlock()
			finish(t, 0, w, p)
		})
	})
}

// TestLostDoubleUnderAnotherName: the sink has put a double in place, and the process
// has died before it was told: under another name of the table, too, the next one
// reads its rows again.
func TestLostDoubleUnderAnotherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(30)
		sink, store := newLivingSink(w), &tableStore{world: w}
		sink.prefix = "to_"
		o := renaming(sink.prefix, func() {})
		gate := &gatedChunks{living: w, open: make(chan struct{}), settle: true}
		o.Source, o.Sink, o.Store = gate, sink, store
		table := w.tables[1]
		process(t, 0, o, func(p *pipeline.Pipeline) {
			synctest.Wait()
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: table.String()}); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
			if got := stateOf(t, p, table); got.State != pipeline.TableResyncing || got.Rows == 0 {
				t.Fatalf("a part of the table should have been copied: %+v", got)
			}
		})
		clear(sink.doubles)
		close(gate.open)
		process(t, 0, o, func(p *pipeline.Pipeline) { finish(t, 0, w, p) })
		if diff := sink.rows[table.String()].Diff(w.states[len(w.states)-1][1]); diff != "" {
			t.Errorf("after the resync:\n%s", diff)
		}
	})
}

// TestShapeBetweenRuns: a double that was begun for a table of another shape, before the
// process ended, is begun anew.
func TestShapeBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(40)
		sink := newLivingSink(w)
		gate := &gatedChunks{living: w, open: make(chan struct{}), settle: true}
		o := pipeline.Options{Source: gate, Sink: sink, Store: &tableStore{world: w}}
		table := w.tables[1]
		process(t, 0, o, func(p *pipeline.Pipeline) {
			synctest.Wait()
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: table.String()}); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
			if got := stateOf(t, p, table); got.Rows == 0 {
				t.Fatalf("a part of the table should have been copied: %+v", got)
			}
		})
		table.Version++
		sink.doubles[table.String()]["of before"] = []entraintest.Cell{entraintest.Text("of before"), entraintest.Null, entraintest.Null, entraintest.Null}
		close(gate.open)
		process(t, 0, o, func(p *pipeline.Pipeline) { finish(t, 0, w, p) })
		if diff := sink.rows[table.String()].Diff(w.states[len(w.states)-1][1]); diff != "" {
			t.Errorf("after the resync:\n%s", diff)
		}
	})
}

// TestOrderThatIsNotSaved: an order that cannot be written down leaves nothing behind.
func TestOrderThatIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		store := &failingTables{tableStore: tableStore{world: w}}
		process(t, 0, pipeline.Options{Source: w, Sink: newLivingSink(w), Store: store}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			store.fails.Store(true)
			err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderPause, Table: w.tables[1].String()})
			if !errors.Is(err, errFault) {
				t.Fatalf("an order that could not be written down: %v", err)
			}
			store.fails.Store(false)
			w.commit(5)
			synctest.Wait()
			lives, err := store.LoadTables(t.Context())
			if err != nil || len(lives) != 0 {
				t.Errorf("there is something to remember: %+v, %v", lives, err)
			}
		})
	})
}

type failingTables struct {
	tableStore
	fails atomic.Bool
}

func (s *failingTables) SaveTables(ctx context.Context, lives []pipeline.TableLife, c *pipeline.Checkpoint) error {
	if s.fails.Load() {
		return errFault
	}
	return s.tableStore.SaveTables(ctx, lives, c)
}

// forbidden is a source that may not read one of its tables.
type forbidden struct{ *living }

func (f forbidden) Chunks(ctx context.Context) (entrain.ChunkSession, error) {
	s, err := f.living.Chunks(ctx)
	return forbiddenSession{s}, err
}

type forbiddenSession struct{ entrain.ChunkSession }

func (s forbiddenSession) Read(_ context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	return nil, &entrain.Stop{Code: "no_select_right", What: q.Table.String()}
}

// TestOrderThatMayNotBe: an order that lacks a right at the source is refused, and the
// pipeline goes on.
func TestOrderThatMayNotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		process(t, 0, pipeline.Options{Source: forbidden{w}, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			for _, do := range []pipeline.Verb{pipeline.OrderResync, pipeline.OrderRefresh} {
				var stop *entrain.Stop
				if err := p.Do(t.Context(), pipeline.Order{Do: do, Table: w.tables[1].String()}); !errors.As(err, &stop) || stop.Code != "no_select_right" {
					t.Errorf("%s: %v", do, err)
				}
			}
			if got := stateOf(t, p, w.tables[1]).State; got != pipeline.TableStreaming {
				t.Errorf("the table is %s", got)
			}
		})
	})
}

// TestOrderForSeveral: a resync begins for all of its tables, or is refused before it
// begins for any; other orders are about one table.
func TestOrderForSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink, store := newLivingSink(w), &tableStore{world: w}
		process(t, 0, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) {
			finish(t, 0, w, p)
			one, two := w.tables[1].String(), w.tables[2].String()
			for _, o := range []pipeline.Order{
				{Do: pipeline.OrderPause, Table: one, With: []string{two}}, {Do: pipeline.OrderResync, Table: one, With: []string{"none"}},
			} {
				if err := p.Do(t.Context(), o); err == nil {
					t.Errorf("%+v is carried out", o)
				}
				wantState(t, p, one, pipeline.TableStreaming)
			}
			w.mu.Lock()
			w.slow = time.Second
			w.mu.Unlock()
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: one, With: []string{two}}); err != nil {
				t.Fatal(err)
			}
			wantState(t, p, one, pipeline.TableResyncing)
			wantState(t, p, two, pipeline.TableResyncing)
			<-time.After(time.Minute)
			wantState(t, p, one, pipeline.TableStreaming)
			wantState(t, p, two, pipeline.TableStreaming)
		})
	})
}
