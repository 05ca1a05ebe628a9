package window

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// part has n events of transaction tx, whole is the end of one, too.
func part(tx, n int) *entrain.Batch {
	b := &entrain.Batch{Bytes: 100 * n}
	for i := range n {
		b.Events = append(b.Events, entrain.Event{Op: entrain.OpInsert, Ordinal: uint64(i), Tx: &entrain.Transaction{Version: uint64(tx)}})
	}
	return b
}

func whole(tx, n int) *entrain.Batch {
	b := part(tx, n)
	b.Through = entrain.Position{Offset: fmt.Sprint(tx)}
	return b
}

// TestQueueDue: the window ends with time or rows or bytes, whichever is first.
func TestQueueDue(t *testing.T) {
	rules := Rules{Every: 5 * time.Second, Rows: 10, Bytes: 2000}
	for name, c := range map[string]struct {
		rules   Rules
		batches []*entrain.Batch
		known   bool
		due     time.Time
	}{
		"nothing":           {rules, nil, false, time.Time{}},
		"time":              {rules, []*entrain.Batch{whole(1, 3)}, true, noon.Add(5 * time.Second)},
		"rows":              {rules, []*entrain.Batch{whole(1, 5), whole(2, 5)}, true, time.Time{}},
		"bytes":             {Rules{time.Hour, 100, 500}, []*entrain.Batch{whole(1, 5)}, true, time.Time{}},
		"a position":        {rules, []*entrain.Batch{whole(1, 0)}, true, noon.Add(5 * time.Second)},
		"a part has no end": {rules, []*entrain.Batch{part(1, 3)}, false, time.Time{}},
		"a large part":      {rules, []*entrain.Batch{part(1, 12)}, true, time.Time{}},
	} {
		q := NewQueue(c.rules)
		for i, b := range c.batches {
			q.Add(b, noon.Add(time.Duration(i)*time.Second))
		}
		if at, known := q.Due(); known != c.known || known && !at.Equal(c.due) {
			t.Errorf("%s: due %s, %t", name, at, known)
		}
	}
}

// TestQueueEndsWithTransactions: what a window hands out ends a transaction, unless
// that is larger than a window; then what follows is passed on up to its end, at once.
func TestQueueEndsWithTransactions(t *testing.T) {
	q := NewQueue(Rules{Every: time.Second, Rows: 10, Bytes: 1 << 20})
	q.Add(whole(1, 2), noon)
	q.Add(part(2, 3), noon)
	taken := q.Take(noon.Add(time.Second))
	if len(taken) != 1 || taken[0].Through.Offset != "1" {
		t.Fatalf("took %v", taken)
	}
	if _, known := q.Due(); known {
		t.Error("half a transaction is due by time")
	}
	q.Add(part(2, 8), noon)
	if at, known := q.Due(); !known || !at.IsZero() {
		t.Fatal("more rows than a window has wait")
	}
	if taken = q.Take(noon); len(taken) != 2 {
		t.Fatalf("took %d batches", len(taken))
	}
	q.Add(part(2, 1), noon)
	if at, known := q.Due(); !known || !at.IsZero() {
		t.Fatal("the rest of a transaction that was begun waits")
	}
	q.Take(noon)
	q.Add(whole(2, 0), noon)
	if taken = q.Take(noon); len(taken) != 1 || taken[0].Through.Offset != "2" {
		t.Fatalf("took %v", taken)
	}
	q.Add(whole(3, 1), noon)
	if at, known := q.Due(); !known || !at.Equal(noon.Add(time.Second)) {
		t.Errorf("the next window is due %s, %t", at, known)
	}
}

// TestQueueRandom: for any sequence, everything comes once and in order, nothing of a
// window that ended by its time is half a transaction, and every batch that is not
// handed out is freed.
func TestQueueRandom(t *testing.T) {
	for seed := range uint64(300) {
		f := &feed{t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: noon, tx: 1}
		f.q = NewQueue(Rules{Every: time.Second, Rows: 1 + f.rng.IntN(20), Bytes: 1 + f.rng.IntN(3000)})
		for range 200 {
			f.step()
		}
		f.q.Drop()
		if f.freed != f.given {
			t.Errorf("seed %d: %d of %d batches freed", seed, f.freed, f.given)
		}
		if len(f.got) > len(f.want) || !slices.Equal(f.got, f.want[:len(f.got)]) || len(f.got) == 0 {
			t.Errorf("seed %d: %d events, not the first of %d", seed, len(f.got), len(f.want))
		}
	}
}

// feed gives a queue batches and takes windows.
type feed struct {
	t                *testing.T
	rng              *rand.Rand
	q                *Queue
	now              time.Time
	tx, given, freed int
	want, got        []string
}

func (f *feed) step() {
	f.now = f.now.Add(time.Duration(f.rng.IntN(600)) * time.Millisecond)
	b := part(f.tx, f.rng.IntN(4))
	for i := range b.Events {
		b.Events[i].Ordinal = uint64(len(f.want))
		f.want = append(f.want, fmt.Sprint(f.tx, len(f.want)))
	}
	if f.rng.IntN(3) > 0 {
		b.Through = entrain.Position{Offset: fmt.Sprint(f.tx)}
		f.tx++
	}
	f.given++
	b.Free = func() { f.freed++ }
	f.q.Add(b, f.now)
	if at, known := f.q.Due(); known && !at.After(f.now) {
		f.take(timeEnded(!at.IsZero()))
	}
}

// take takes a window; reason says whether its time has ended it.
func (f *feed) take(reason timeEnded) {
	taken := f.q.Take(f.now)
	if n := len(taken); bool(reason) && (n == 0 || taken[n-1].Through.IsZero()) {
		f.t.Error("a window does not end with a transaction")
	}
	for _, b := range taken {
		for _, e := range b.Events {
			f.got = append(f.got, fmt.Sprint(e.Tx.Version, e.Ordinal))
		}
		b.Free()
	}
}

type timeEnded bool

// TestKeep: a batch of which little is left is copied, and the copy does not change
// when the memory of the other is used anew.
func TestKeep(t *testing.T) {
	table := entraintest.StandardTable()
	value := entraintest.Text("one")
	event := entraintest.Insert(table, value, value, value, entraintest.Null)
	event.Tx = &entrain.Transaction{Version: 9}
	b := &entrain.Batch{Events: []entrain.Event{event, event}, Bytes: 1 << 20, Through: entrain.Position{Offset: "x"}}
	freed := false
	b.Free = func() {
		freed = true
		clear(event.After)
		*event.Tx = entrain.Transaction{}
	}
	want := string(event.After)
	kept := Keep(b)
	if !freed || kept == b || kept.Bytes > 4000 || kept.Through != b.Through {
		t.Fatalf("kept %d bytes, freed %t", kept.Bytes, freed)
	}
	for _, e := range kept.Events {
		if string(e.After) != want || e.Tx.Version != 9 || e.Tx != kept.Events[0].Tx {
			t.Errorf("kept %v of %v", e.After, e.Tx)
		}
	}
	small := &entrain.Batch{Events: []entrain.Event{event}, Bytes: 300}
	if Keep(small) != small {
		t.Error("a batch of which all is needed was copied")
	}
}
