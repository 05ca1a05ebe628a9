package backfill

import (
	"errors"
	"strconv"
	"testing"

	"github.com/entrainsync/entrain"
)

func TestDeliverDoesNotAllocate(t *testing.T) {
	shape := scriptShape("1", "int4")
	c, err := New(shape, Progress{}, 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	e := &entrain.Event{
		Op: entrain.OpUpdate, Table: shape, Tx: &entrain.Transaction{ID: 7},
		Before: scriptRow("1", "~", "~"), After: scriptRow("2", "a", "b"),
	}
	deliver := func() {
		if err := c.Deliver(e); err != nil {
			t.Error(err)
		}
	}
	if n := testing.AllocsPerRun(100, deliver); n != 0 {
		t.Errorf("%v allocations an event between chunks", n)
	}
	c.End(entrain.Position{})
	if _, ok := c.Next(); !ok {
		t.Fatal("no chunk is asked for")
	}
	view := entrain.View{Min: 5, Max: 5}
	if err := c.Read(&entrain.Chunk{Table: shape, View: view, Rows: []entrain.Row{scriptRow("9", "a", "b")}}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, deliver); n != 0 {
		t.Errorf("%v allocations an event outside the chunk", n)
	}
}

func TestNewRefusesTablesWithoutKey(t *testing.T) {
	shape := scriptShape("1", "none")
	if _, err := New(shape, Progress{}, 1, 1); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key columns: %v", err)
	}
	full := *scriptShape("1", "int4")
	full.FullIdentity = true
	if _, err := New(&full, Progress{}, 1, 1); !errors.Is(err, ErrNoKey) {
		t.Errorf("full identity: %v", err)
	}
}

func TestProgressOfAnotherKeyStartsOver(t *testing.T) {
	was, err := New(scriptShape("1", "int4"), Progress{}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := was.Progress()
	p.After, p.Rows = []string{"5"}, 5
	for key, after := range map[string]int{"int4": 1, "text": 0} {
		c, err := New(scriptShape("2", key), p, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if q, ok := c.Next(); !ok || len(q.After) != after {
			t.Errorf("key of type %s: %+v, %v", key, q, ok)
		}
	}
}

func TestProgressIsTheCallers(t *testing.T) {
	from := Progress{After: []string{"5"}, Singles: [][]string{{"1"}}}
	c, err := New(scriptShape("1", "int4"), from, 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	from.Key = c.progress.Key
	if c, err = New(scriptShape("1", "int4"), from, 1, 1000); err != nil {
		t.Fatal(err)
	}
	p := c.Progress()
	p.After[0], p.Singles[0][0], from.Singles[0][0] = "x", "x", "x"
	if got := c.Progress(); got.After[0] != "5" || got.Singles[0][0] != "1" {
		t.Errorf("the progress was changed from outside: %+v", got)
	}
}

// TestForget: what is remembered of transactions while no view comes is bounded, and a
// chunk that was asked for before it was forgotten is of no use.
func TestForget(t *testing.T) {
	shape := scriptShape("1", "int4")
	c, err := New(shape, Progress{}, 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	tx := entrain.Transaction{}
	e := &entrain.Event{Op: entrain.OpDelete, Table: shape, Tx: &tx, Before: scriptRow("1", "~", "~")}
	for tx.ID = 10; !c.Crowded(); tx.ID++ {
		if tx.ID > 1_000_000 {
			t.Fatal("a million transactions are no crowd")
		}
		if err := c.Deliver(e); err != nil {
			t.Fatal(err)
		}
	}
	c.End(entrain.Position{})
	if _, ok := c.Next(); !ok {
		t.Fatal("no chunk is asked for")
	}
	c.Forget()
	if c.Crowded() || len(c.touched) != 0 {
		t.Errorf("%d transactions are remembered", len(c.touched))
	}
	if err := c.Read(&entrain.Chunk{Table: shape, View: entrain.View{Min: 5, Max: 5}, Reached: func(entrain.Position) bool { return true }}); err != nil {
		t.Fatal(err)
	}
	if n, why := c.Discarded(); n != 1 || why != ReasonOverflow {
		t.Errorf("%d chunks were discarded, %q", n, why)
	}
	if err := c.valid(); err != nil {
		t.Error(err)
	}
}

// TestSinglesAreBounded (P6): keys of rows that came without a part are kept up to a
// bound, and fetched before anything else from half of it on. Beyond it copying starts
// over, which is saved, and views have to contain what was delivered until then.
func TestSinglesAreBounded(t *testing.T) {
	shape := scriptShape("1", "int4")
	c, err := New(shape, Progress{}, 10, 2000)
	if err != nil {
		t.Fatal(err)
	}
	from := c.Progress()
	from.After, from.Rows = []string{"5"}, 5
	if c, err = New(shape, from, 10, 2000); err != nil {
		t.Fatal(err)
	}
	tx := entrain.Transaction{ID: 10}
	rekey := func(to string) {
		t.Helper()
		e := &entrain.Event{Op: entrain.OpUpdate, Table: shape, Tx: &tx, Before: scriptRow("1", "~", "~"), After: scriptRow(to, "a", "~")}
		if err := c.Deliver(e); err != nil {
			t.Fatal(err)
		}
		if err := c.valid(); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for ; c.progress.After != nil; n++ {
		if n > 100 {
			t.Fatal("100 keys are below the bound of 2000 bytes")
		}
		if n == 12 {
			c.End(entrain.Position{})
			c.inRow = singlesPerChunk
			if q, ok := c.Next(); !ok || q.Of == nil {
				t.Errorf("a list that is half full: %+v, %v", q, ok)
			}
			c.Abandon()
		}
		rekey(strconv.Itoa(1000 + n))
	}
	if p := c.progress; n < 10 || !c.Dirty() || p.Singles != nil || p.Rows != 0 || p.Key != from.Key {
		t.Errorf("after %d keys: %+v, dirty %v", n, p, c.Dirty())
	}
	c.End(entrain.Position{})
	if q, ok := c.Next(); !ok || q.Of != nil || q.After != nil {
		t.Errorf("the first chunk behind that: %+v, %v", q, ok)
	}
	if err := c.Read(&entrain.Chunk{Table: shape, View: entrain.View{Min: 10, Max: 10}}); err != nil {
		t.Fatal(err)
	}
	if n, why := c.Discarded(); n != 1 || why != ReasonUnseen {
		t.Errorf("a view without the last key: %d chunks were discarded, %q", n, why)
	}
}

// TestSavedSinglesAreBounded: a list that was saved and is above the bound is not taken.
func TestSavedSinglesAreBounded(t *testing.T) {
	shape := scriptShape("1", "int4")
	c, err := New(shape, Progress{}, 10, 2000)
	if err != nil {
		t.Fatal(err)
	}
	from := c.Progress()
	from.After = []string{"5"}
	for i := range 100 {
		from.Singles = append(from.Singles, []string{strconv.Itoa(i)})
	}
	if c, err = New(shape, from, 10, 2000); err != nil {
		t.Fatal(err)
	}
	if p := c.progress; !c.Dirty() || p.Singles != nil || p.After != nil {
		t.Errorf("a list that was saved and is above the bound: %+v, dirty %v", p, c.Dirty())
	}
}
