package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// burst is a history with refused events, and how it is delivered.
type burst struct {
	seed   uint64
	rules  parking.Rules
	keeps  entraintest.Keeps
	fail   pipeline.Point // that fails now and then
	bad    map[string]bool
	ids    []string          // of all events
	rows   map[string]string // which row an event is of
	whole  bool              // no transaction comes in parts
	opened int
}

// random is a history of updates of few rows and of inserts, of which some are refused.
func (b *burst) random(src *entraintest.MemorySource) {
	r := rand.New(rand.NewPCG(b.seed, 1))
	table := entraintest.StandardTable()
	b.bad, b.rows, b.ids = map[string]bool{}, map[string]string{}, nil
	one := r.IntN(20) + 2 // of so many is refused
	const shared = 8      // rows that are there first, and are updated later
	for n := range 60 {
		var events []entrain.Event
		for k := range 1 + r.IntN(3)*r.IntN(2) {
			id, make := fmt.Sprint(100*n+k), entraintest.Insert
			if n >= shared && r.IntN(2) == 0 {
				id, make = fmt.Sprint(100*r.IntN(shared)), entraintest.Update
			}
			name := fmt.Sprintf("source/memory/%d/%d", 1000*(n+1), k)
			b.ids, b.rows[name] = append(b.ids, name), id
			b.bad[name] = n >= shared && r.IntN(one) == 0
			events = append(events, make(table, entraintest.Text(id), entraintest.Text(fmt.Sprint(n)), entraintest.Null, entraintest.Null))
		}
		src.Commit(events...)
	}
}

// expected is what is delivered and parked, decided event by event.
func (b *burst) expected() (delivered, parked []string) {
	tainted := map[string]bool{} // rows of letters
	for rest := b.ids; len(rest) > 0; {
		n := 1
		for b.rules.Unit == parking.Transactions && n < len(rest) && transactionOf(rest[n]) == transactionOf(rest[0]) {
			n++
		}
		if slices.ContainsFunc(rest[:n], func(id string) bool { return b.bad[id] || tainted[b.rows[id]] }) {
			for _, id := range rest[:n] {
				tainted[b.rows[id]] = true
			}
			parked = append(parked, rest[:n]...)
		} else {
			delivered = append(delivered, rest[:n]...)
		}
		rest = rest[n:]
	}
	slices.Sort(parked)
	return delivered, parked
}

// deliver runs the history, and returns what was delivered and what is parked.
func (b *burst) deliver(t *testing.T) (delivered, parked []string) {
	r := rand.New(rand.NewPCG(b.seed, 2))
	least := 1
	if b.whole {
		least = 3
	}
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: least + r.IntN(9)})
	b.random(src)
	k := &picky{bad: b.bad}
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: b.keeps, BeforeWrite: k.before,
		BeforeOpen: func(context.Context) error { b.opened++; return nil }})
	box := &letterBox{letters: map[string]parking.Letter{}}
	_, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: &memoryStore{}, BatchBytes: 1 << r.IntN(14),
		DeadLetters: &pipeline.DeadLetters{Store: box, Rules: b.rules},
		Failpoint: func(at pipeline.Point) error {
			if at == b.fail && r.IntN(6) == 0 {
				return entrain.Retryable(errors.New("injected"))
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if n := src.Outstanding(); n != 0 {
		t.Errorf("%d batches were not freed", n)
	}
	return sink.IDs(), box.ids()
}

// TestSiftedExactly: whatever the batches are, what is delivered and what is parked is
// what refusing event by event comes to, in one session.
func TestSiftedExactly(t *testing.T) {
	for seed := range uint64(100) {
		for _, unit := range []parking.Unit{parking.Transactions, parking.Events} {
			synctest.Test(t, func(t *testing.T) {
				b := &burst{seed: seed, rules: parking.Rules{Unit: unit}, keeps: entraintest.KeepsPosition, whole: true}
				gotRows, gotLetters := b.deliver(t)
				rows, letters := b.expected()
				if !slices.Equal(gotRows, rows) || !slices.Equal(gotLetters, letters) {
					t.Errorf("seed %d: delivered %v\nparked %v\nwant %v\n%v", seed, gotRows, gotLetters, rows, letters)
				}
				if b.opened != 1 {
					t.Errorf("seed %d: the sink was opened %d times", seed, b.opened)
				}
			})
		}
	}
}

// TestSiftedOnce: a burst of refusals is dealt with in one session, with fewer tries than
// there are events.
func TestSiftedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 500})
		want := history(src, 1200)
		k := &picky{bad: map[string]bool{}}
		for n := 100; n < len(want); n += 100 {
			k.bad[want[n]] = true
		}
		opened, writes := 0, 0
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition,
			BeforeOpen: func(context.Context) error { opened++; return nil },
			BeforeWrite: func(ctx context.Context, b *entrain.Batch) error {
				writes++
				return k.before(ctx, b)
			}})
		box := &letterBox{letters: map[string]parking.Letter{}}
		_, err := run(t, pipeline.Options{Source: src, Sink: sink,
			DeadLetters: &pipeline.DeadLetters{Store: box, Rules: parking.Rules{Unit: parking.Events}}})
		if err != nil {
			t.Fatal(err)
		}
		if opened != 1 || len(box.ids()) != len(k.bad) || len(sink.IDs()) != len(want)-len(k.bad) {
			t.Errorf("opened %d times, %d letters of %d, %d events delivered", opened, len(box.ids()), len(k.bad), len(sink.IDs()))
		}
		if most := 8 * len(k.bad); writes > most {
			t.Errorf("%d writes for %d refused events, expected at most %d", writes, len(k.bad), most)
		}
	})
}

// TestSiftedThroughFaults: whatever fails at any boundary, each event is delivered once
// and in order, or a letter, never both or neither (P1 to P3); only what is refused, and
// what shares a row or a transaction with a letter, is one.
func TestSiftedThroughFaults(t *testing.T) {
	points := []pipeline.Point{pipeline.PointReceived, pipeline.PointWriting, pipeline.PointParked, pipeline.PointDurable, pipeline.PointSaved, pipeline.PointAcked}
	for seed := range uint64(20) {
		for _, at := range points {
			for _, unit := range []parking.Unit{parking.Transactions, parking.Events} {
				synctest.Test(t, func(t *testing.T) {
					b := &burst{seed: seed, rules: parking.Rules{Unit: unit, Attempts: 1 + int(seed%3)}, keeps: entraintest.KeepsPosition, fail: at}
					rows, letters := b.deliver(t)
					b.judge(t, rows, letters)
				})
			}
		}
	}
}

func (b *burst) judge(t *testing.T, rows, letters []string) {
	in := map[string]bool{}
	for _, id := range letters {
		in[id] = true
	}
	flow := slices.DeleteFunc(slices.Clone(b.ids), func(id string) bool { return in[id] })
	if !slices.Equal(rows, flow) {
		t.Errorf("seed %d at %s: delivered %v, want %v", b.seed, b.fail, rows, flow)
	}
	tainted := map[string]bool{} // rows and transactions of letters
	for _, id := range letters {
		if b.bad[id] {
			tainted[b.rows[id]], tainted[transactionOf(id)] = true, true
		}
	}
	for again := true; again; {
		again = false
		for _, id := range letters {
			row, tx := b.rows[id], transactionOf(id)
			joins := tainted[row] || b.rules.Unit == parking.Transactions && tainted[tx]
			if joins && !(tainted[row] && tainted[tx]) {
				tainted[row], tainted[tx], again = true, true, true
			}
		}
	}
	for _, id := range b.ids {
		switch {
		case b.bad[id] && !in[id]:
			t.Errorf("seed %d at %s: %s was delivered", b.seed, b.fail, id)
		case in[id] && !tainted[b.rows[id]]:
			t.Errorf("seed %d at %s: %s is a letter without a reason", b.seed, b.fail, id)
		}
	}
}
