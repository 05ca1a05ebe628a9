package pipeline_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

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
		synctest.Test(t, func(t *testing.T) { livingHistory(t, seed, newLivingSink(newLiving(seed))) })
		synctest.Test(t, func(t *testing.T) {
			relay := newLivingSink(newLiving(seed))
			relay.relays = true
			livingHistory(t, seed, relay)
		})
		if t.Failed() {
			return
		}
	}
}

// livingHistory is one of them, into a sink that has doubles or one that leads them on.
func livingHistory(t *testing.T, seed uint64, sink *livingSink) {
	w, store := sink.world, &tableStore{world: sink.world}
	w.commit(15)
	for range 3 {
		process(t, seed, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) { orders(t, w, p) })
	}
	w.mu.Lock()
	w.budget = 0
	w.mu.Unlock()
	process(t, seed, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) { finish(t, seed, w, p) })
	if len(sink.doubles) > 0 && !sink.relays {
		t.Errorf("seed %d: the sink has doubles that no table needs: %v", seed, sink.doubles)
	}
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
	w.mu.Lock()
	n := w.rng.IntN(8)
	w.mu.Unlock()
	for range n {
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
			if got := stateOf(t, p, bad); got.State != pipeline.TableFailed || got.Reason == "" || got.Code != "row_refused" {
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

// TestFailedTableOfPlainSource is the same with a source that cannot be read beside
// its stream: the others flow on, also in the sessions behind it.
func TestFailedTableOfPlainSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink := newLivingSink(w)
		sink.refuse[w.tables[1].String()] = true
		o := pipeline.Options{Source: w.MemorySource, Sink: sink, Store: &tableStore{world: w}, OnTableError: pipeline.TableErrorResync}
		process(t, 0, o, func(*pipeline.Pipeline) {
			for range 10 {
				w.commit(3)
				<-time.After(time.Second)
			}
		})
		if diff := sink.rows[w.tables[2].String()].Diff(w.states[len(w.states)-1][2]); diff != "" {
			t.Errorf("another table did not flow on:\n%s", diff)
		}
	})
}

// TestCancelledResync: nothing is left at the sink of a resync that is cancelled, whether
// the stream stands still or a process dies before it is removed. One that is begun anew
// at once is not touched.
func TestCancelledResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.slow = time.Second
		sink, store := newLivingSink(w), &tableStore{world: w}
		w.commit(15)
		table := w.tables[1].String()
		order := func(p *pipeline.Pipeline, do pipeline.Verb) {
			t.Helper()
			if err := p.Do(t.Context(), pipeline.Order{Do: do, Table: table}); err != nil {
				t.Fatal(err)
			}
		}
		doubles := func(want int) {
			t.Helper()
			sink.mu.Lock()
			defer sink.mu.Unlock()
			if len(sink.doubles) != want {
				t.Errorf("the sink has %d doubles, want %d", len(sink.doubles), want)
			}
		}
		options := pipeline.Options{Source: w, Sink: sink, Store: store}
		process(t, 0, options, func(p *pipeline.Pipeline) {
			finish(t, 0, w, p)
			for len(w.states[len(w.states)-1][1]) < 8 {
				w.commit(1)
			}
			order(p, pipeline.OrderResync)
			<-time.After(1500 * time.Millisecond)
			doubles(1)
			order(p, pipeline.OrderCancel)
			<-time.After(2 * time.Second) // a chunk is being read
			doubles(0)
			order(p, pipeline.OrderResync)
			<-time.After(1500 * time.Millisecond)
			order(p, pipeline.OrderCancel)
			order(p, pipeline.OrderResync)
			<-time.After(1500 * time.Millisecond)
			doubles(1)
		})
		lives, err := store.LoadTables(t.Context())
		if err != nil || len(lives) != 1 || !lives[0].Anew {
			t.Fatalf("%+v, %v", lives, err)
		}
		lives[0] = pipeline.TableLife{Schema: lives[0].Schema, Name: lives[0].Name, State: pipeline.TablePaused}
		if err := store.SaveTables(t.Context(), lives, nil); err != nil {
			t.Fatal(err)
		}
		doubles(1)
		process(t, 0, options, func(p *pipeline.Pipeline) {
			<-time.After(time.Second)
			doubles(0)
		})
	})
}
