package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// gathers is how long the sink of these tests gathers.
const gathers = 25 * time.Millisecond

// gatherer is a pipeline whose sink gathers.
type gatherer struct {
	*pipeline.Pipeline
	t      *testing.T
	source *entraintest.MemorySource
	sink   *entraintest.MemorySink
	writes []int // events of each
	fail   func(b *entrain.Batch) error
	box    *letterBox
	end    func()
	next   int
}

// gather starts it; a transaction of more than three events comes in parts.
func gather(t *testing.T) *gatherer {
	g := &gatherer{t: t, box: &letterBox{letters: map[string]parking.Letter{}}}
	g.source = entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 3})
	g.sink = entraintest.NewMemorySink(entraintest.MemorySinkConfig{
		Keeps: entraintest.KeepsPosition, Gathers: gathers,
		BeforeWrite: func(_ context.Context, b *entrain.Batch) error {
			g.writes = append(g.writes, len(b.Events))
			if g.fail != nil {
				return g.fail(b)
			}
			return nil
		},
	})
	var err error
	g.Pipeline, err = pipeline.New(pipeline.Options{
		Source: g.source, Sink: g.sink, BatchBytes: 1,
		DeadLetters: &pipeline.DeadLetters{Store: g.box, Rules: parking.Rules{Attempts: 2, Unit: parking.Transactions}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	g.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return g
}

// commit commits a transaction at the source and lets it come as far as it does
// without time passing.
func (g *gatherer) commit(events int) {
	g.next++
	var all []entrain.Event
	for k := range events {
		id := entraintest.Text(fmt.Sprint(100*g.next + k))
		all = append(all, entraintest.Insert(entraintest.StandardTable(), id, id, id, entraintest.Null))
	}
	g.source.Commit(all...)
	synctest.Wait()
}

// after lets time pass.
func (g *gatherer) after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// want fails unless the sink has so many commits, the last is at the position, and
// the source was told of just that.
func (g *gatherer) want(commits int, position string) {
	g.t.Helper()
	all, acks := g.sink.Commits(), g.source.Acks()
	if len(all) != commits || all[len(all)-1].Position.Offset != position {
		g.t.Errorf("commits %v, want %d up to %s", all, commits, position)
	}
	if len(acks) == 0 || acks[len(acks)-1].Offset != position {
		g.t.Errorf("acknowledged %v, want up to %s", acks, position)
	}
}

// TestGathers: the first write after a pause is durable at once, what follows is
// handed on at once and acknowledged when it is durable (P1, P2).
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather(t)
		g.after(time.Hour)
		g.commit(1)
		g.want(1, "1")
		g.commit(1)
		g.commit(2)
		g.want(1, "1")
		if !slices.Equal(g.writes, []int{1, 1, 2}) {
			t.Errorf("writes %v", g.writes)
		}
		if st := g.Status(); st.Captured != 4 || st.Applied != 1 {
			t.Errorf("captured %d, applied %d, want 4 and 1", st.Captured, st.Applied)
		}
		g.after(gathers - 1)
		g.want(1, "1")
		g.after(1)
		g.want(2, "3")
		if got := len(g.sink.Commits()[1].IDs); got != 3 {
			t.Errorf("%d events in the second commit, want 3", got)
		}
		g.after(time.Hour)
		if !slices.Equal(g.writes, []int{1, 1, 2, 0}) {
			t.Errorf("writes %v: nothing is to be written while nothing comes", g.writes)
		}
		g.commit(1)
		g.want(3, "4")
		g.end()
	})
}

// TestGatheredEnds: at the end, nothing that was accepted stays open.
func TestGatheredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather(t)
		g.commit(1)
		g.commit(1)
		g.want(1, "1")
		g.end()
		g.want(2, "2")
	})
}

// TestGatheredBeforeParts: a transaction that comes in parts is one of the sink's, and
// what waits is durable before it.
func TestGatheredBeforeParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather(t)
		g.commit(1)
		g.commit(1)
		g.commit(8)
		g.want(3, "3")
		if got := len(g.sink.Commits()[2].IDs); got != 8 {
			t.Errorf("%d events in the commit of the large one, want 8", got)
		}
		g.end()
	})
}

// TestGatheredFails: a write that fails behind several that were accepted takes all of
// them back, and they come once more, once.
func TestGatheredFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather(t)
		g.commit(1)
		for range 3 {
			g.commit(1)
		}
		g.fail = func(*entrain.Batch) error { return fmt.Errorf("write: %w", entrain.ErrDisconnected) }
		g.commit(1)
		g.want(1, "1")
		g.fail = nil
		g.after(time.Minute)
		g.want(len(g.sink.Commits()), "5")
		if ids := g.sink.IDs(); len(ids) != 5 || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 5 {
			t.Errorf("delivered %v", ids)
		}
		g.end()
	})
}

// TestGatheredRefused: what the sink refuses of a gathered write becomes a letter, and
// everything else arrives. What is asked for meanwhile is done behind what waits.
func TestGatheredRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather(t)
		g.commit(1)
		g.commit(1)
		sent := false
		g.fail = func(b *entrain.Batch) error { // it tells with the write behind
			const bad = "source/memory/3000/0"
			has := slices.ContainsFunc(b.Events, func(e entrain.Event) bool { return e.ID() == bad })
			if sent || has && !b.Through.IsZero() { // it is behind its own, or has to tell
				sent = false
				return &entrain.BatchError{Failed: []entrain.FailedEvent{{ID: bad, Op: entrain.OpInsert, Err: errors.New("no")}}}
			}
			sent = has
			return nil
		}
		g.commit(1)
		g.commit(1)
		g.after(time.Minute)
		want := []string{"source/memory/1000/0", "source/memory/2000/0", "source/memory/4000/0"}
		if got := g.sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if got := g.box.ids(); !slices.Equal(got, []string{"source/memory/3000/0"}) {
			t.Errorf("letters %v", got)
		}
		g.fail = nil
		g.commit(1)
		g.commit(1) // waits
		if n, err := g.Replay(t.Context(), nil); err != nil || n != 1 {
			t.Errorf("replayed %d: %v", n, err)
		}
		if got := g.sink.IDs(); len(got) != 6 || got[5] != "source/memory/3000/0" {
			t.Errorf("delivered %v: the letter is to come behind what waited", got)
		}
		g.end()
	})
}
