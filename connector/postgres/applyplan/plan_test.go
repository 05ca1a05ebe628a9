package applyplan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// world is a set of tables for random batches.
type world struct {
	targets map[*entrain.Table]*Target
	tables  []*entrain.Table
	graph   *Graph
}

func (w *world) lookup(t *entrain.Table) *Target { return w.targets[t] }

func newTable(name string, keys int) *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: name}
	for i := range 4 {
		t.Columns = append(t.Columns, entrain.Column{Name: "c" + strconv.Itoa(i), Type: "text", Modifier: -1, Key: i < keys})
	}
	t.Version = t.Fingerprint()
	return t
}

// drawWorld makes three tables, the last with a key of two columns, a second
// shape of the first one and a double of the second, with random modes and
// references.
func drawWorld(t *rapid.T) *world {
	w := &world{targets: map[*entrain.Table]*Target{}}
	for i, keys := range []int{1, 1, 2} {
		table := newTable("t"+strconv.Itoa(i), keys)
		mode := rapid.SampledFrom([]Mode{Grouped, Grouped, Grouped, Grouped, Ordered, Strict}).Draw(t, "mode")
		target := &Target{Relation: uint32(i + 1), Table: table, Mode: mode, Key: []int{0}}
		if keys == 2 {
			target.Key = []int{0, 1}
		}
		target.KeepsDeleted = i < 2 && rapid.Bool().Draw(t, "keeps deleted")
		target.ActsOnDelete = rapid.IntRange(0, 9).Draw(t, "acts") == 0
		w.targets[table] = target
		w.tables = append(w.tables, table)
	}
	second := *w.tables[0]
	w.tables = append(w.tables, &second)
	shape := *w.targets[w.tables[0]]
	shape.Table = &second
	w.targets[&second] = &shape
	// The double of the second table.
	double := *w.tables[1]
	double.Shadow = true
	w.tables = append(w.tables, &double)
	w.targets[&double] = &Target{Relation: ^uint32(2), Table: &double, Key: []int{0}, KeepsDeleted: w.targets[w.tables[1]].KeepsDeleted,
		Double: &Double{Relation: 2, Mode: w.targets[w.tables[1]].Mode}}
	var keys []ForeignKey
	for _, pair := range [][2]uint32{{1, 2}, {2, 3}, {3, 1}, {1, 1}} {
		if rapid.Bool().Draw(t, "reference") {
			keys = append(keys, ForeignKey{Child: pair[0], Parent: pair[1], Deferrable: rapid.Bool().Draw(t, "deferrable")})
		}
	}
	w.graph = NewGraph(keys, nil)
	return w
}

// drawCells makes a whole row with the key.
func drawCells(t *rapid.T, table *entrain.Table, key []string) []entraintest.Cell {
	cells := drawChange(t, table, key)
	for i, c := range cells {
		if c == entraintest.Unchanged {
			cells[i] = entraintest.Text("whole")
		}
	}
	return cells
}

// drawChange makes a row that leaves columns outside the key out.
func drawChange(t *rapid.T, table *entrain.Table, key []string) []entraintest.Cell {
	cells := make([]entraintest.Cell, len(table.Columns))
	for i := range cells {
		switch kind := rapid.IntRange(0, 5).Draw(t, "cell"); {
		case i < len(key):
			cells[i] = entraintest.Text(key[i])
		case kind == 0:
			cells[i] = entraintest.Null
		case kind <= 2:
			cells[i] = entraintest.Unchanged
		default:
			cells[i] = entraintest.Text(strconv.Itoa(rapid.IntRange(0, 99).Draw(t, "value")))
		}
	}
	return cells
}

// drawHistory makes events that a source could have sent, given what is in
// state, and applies them to it one by one: the truth.
func drawHistory(t *rapid.T, w *world, state database) []entrain.Event {
	n := rapid.IntRange(1, 40).Draw(t, "events")
	var events []entrain.Event
	for len(events) < n {
		table := rapid.SampledFrom(w.tables).Draw(t, "table")
		e := drawEvent(t, w, state, table)
		e.Settling = e.Settling || e.Table != nil && rapid.Bool().Draw(t, "settling")
		e.Tx = &entrain.Transaction{Stream: &entrain.Stream{}, Version: uint64(len(events) / 3)}
		events = append(events, e)
		if noRow(&e) {
			continue
		}
		item, _ := itemOf(&e, 0, w.lookup)
		if err := state.apply(&item, &e, w.lookup); err != nil {
			t.Fatalf("the history itself is wrong: %v", err)
		}
	}
	return events
}

func drawEvent(t *rapid.T, w *world, state database, table *entrain.Table) entrain.Event {
	target := w.lookup(table)
	draw := func() []string {
		key := make([]string, len(target.Key))
		for i := range key {
			key[i] = string(rune('a' + rapid.IntRange(0, 3).Draw(t, "key")))
		}
		return key
	}
	key := draw()
	_, exists := state.table(target)[quoted(key)]
	switch kind := rapid.IntRange(0, 19).Draw(t, "kind"); {
	case kind == 0 && table.Shadow:
		return entraintest.Truncate(table)
	case kind <= 1 && table.Shadow:
		return entrain.Event{Op: entrain.OpReadEnd, Table: table}
	case kind == 0:
		other := rapid.SampledFrom(w.tables[:4]).Draw(t, "other")
		return entraintest.Truncate(table, other)
	case kind == 1:
		return entraintest.Message("p", "m")
	case kind == 2:
		// Rows that a filter at the source or a conflict at the target make
		// surprising: an update or a delete of what is not there, an insert
		// of what is. Those that settle may be read, or have a new key, too.
		return drawSurprise(t, table, key)
	case !exists:
		return entraintest.Insert(table, drawCells(t, table, key)...)
	case kind <= 5:
		return entraintest.Delete(table, key...)
	case kind <= 8:
		next := draw()
		if _, taken := state.table(target)[quoted(next)]; !taken {
			return entraintest.Rekey(table, key, drawChange(t, table, next)...)
		}
	}
	e := entraintest.Update(table, drawChange(t, table, key)...)
	if rapid.Bool().Draw(t, "before") {
		e.Before = entraintest.Delete(table, key...).Before
	}
	return e
}

func drawSurprise(t *rapid.T, table *entrain.Table, key []string) entrain.Event {
	switch rapid.IntRange(0, 4).Draw(t, "surprise") {
	case 0:
		return entraintest.Insert(table, drawCells(t, table, key)...)
	case 3:
		e := entraintest.Insert(table, drawCells(t, table, key)...)
		e.Op = entrain.OpRead
		return e
	case 4:
		next := slices.Clone(key)
		next[0] = "b"
		e := entraintest.Rekey(table, key, drawChange(t, table, next)...)
		e.Settling = true
		return e
	case 1:
		return entraintest.Update(table, drawChange(t, table, key)...)
	default:
		return entraintest.Delete(table, key...)
	}
}

func quoted(key []string) string {
	s := ""
	for i, k := range key {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf("%q", k)
	}
	return s
}

// TestPlansEqualSerialExecution proves P3 for every plan that the planner
// makes: whatever the batch, the order of groups and what the target held
// before, the result is that of one statement an event in source order.
func TestPlansEqualSerialExecution(t *testing.T) {
	var planner, stepper Planner
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := database{}
		drawHistory(t, w, before)
		want := before.clone()
		events := drawHistory(t, w, want)
		order := rapid.SampledFrom([]Order{DeletesFirst, InsertsFirst}).Draw(t, "order")
		work := Work{Events: events, Lookup: w.lookup, Graph: w.graph, Order: order}
		planned := before.clone()
		units := planner.Plan(work)
		for _, u := range slices.Backward(units) {
			err := planned.run(u, events, w.lookup)
			if errors.Is(err, errTwice) && onlyOneSetOfInserts(u) {
				// The database refuses the set as a whole: a step down.
				part := work
				part.Pick = u.Events
				err = planned.run(Unit{Mode: u.Mode, Steps: stepper.Runs(part)}, events, w.lookup)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		compare(t, "plan", planned, want)
		checkUnits(t, units, events)
	})
}

func onlyOneSetOfInserts(u Unit) bool {
	return len(u.Steps) == 1 && u.Steps[0].Kind == Inserts && len(u.Steps[0].Items) == len(u.Events)
}

// TestStepsDownEqualSerialExecution proves the same for runs and rows, made
// for each transaction of each unit.
func TestStepsDownEqualSerialExecution(t *testing.T) {
	var planner, stepper Planner
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := database{}
		drawHistory(t, w, before)
		want := before.clone()
		events := drawHistory(t, w, want)
		work := Work{Events: events, Lookup: w.lookup, Graph: w.graph}
		runs, rows := before.clone(), before.clone()
		for _, u := range planner.Plan(work) {
			work.Pick = u.Events
			if err := runs.run(Unit{Mode: u.Mode, Steps: stepper.Runs(work)}, events, w.lookup); err != nil {
				t.Fatal(err)
			}
			if err := rows.run(Unit{Mode: u.Mode, Steps: stepper.Rows(work)}, events, w.lookup); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, "runs", runs, want)
		compare(t, "rows", rows, want)
	})
}

func compare(t *rapid.T, what string, got, want database) {
	if got.String() != want.String() {
		t.Fatalf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// checkUnits: every event but messages is in exactly one unit, in order.
func checkUnits(t *rapid.T, units []Unit, events []entrain.Event) {
	var all []int32
	for _, u := range units {
		if !slices.IsSorted(u.Events) {
			t.Fatalf("events of a unit are out of order: %v", u.Events)
		}
		all = append(all, u.Events...)
	}
	slices.Sort(all)
	var want []int32
	for i := range events {
		if !noRow(&events[i]) {
			want = append(want, int32(i))
		}
	}
	if !slices.Equal(all, want) {
		t.Fatalf("units have events %v, want %v", all, want)
	}
}

// TestInsertsAreOneStep: inserts into one table are one step as they come; what
// was begun of that is gone when something else follows.
func TestInsertsAreOneStep(t *testing.T) {
	table := newTable("t", 1)
	target := &Target{Relation: 1, Table: table, Key: []int{0}}
	text, same := entraintest.Text, entraintest.Unchanged
	insert := func(key string) entrain.Event {
		return entraintest.Insert(table, text(key), text("v"), text("v"), text("v"))
	}
	update := entraintest.Update(table, text("9"), text("w"), text("w"), text("w"))
	partial := entraintest.Insert(table, text("7"), same, same, same)
	var p Planner
	for _, c := range []struct {
		name   string
		events []entrain.Event
		kinds  []Kind
		items  []int
	}{
		{"inserts", []entrain.Event{insert("1"), insert("2"), insert("3")}, []Kind{Inserts}, []int{3}},
		{"then an update", []entrain.Event{insert("1"), insert("2"), update}, []Kind{Updates, Inserts}, []int{1, 2}},
		{"then a part of a row", []entrain.Event{insert("1"), partial}, []Kind{Inserts, Rows}, []int{1, 1}},
		{"an update alone", []entrain.Event{update}, []Kind{Updates}, []int{1}},
		{"inserts again", []entrain.Event{insert("4")}, []Kind{Inserts}, []int{1}},
	} {
		units := p.Plan(Work{Events: c.events, Lookup: func(*entrain.Table) *Target { return target }, Graph: NewGraph(nil, nil)})
		var kinds []Kind
		var items []int
		for _, s := range units[0].Steps {
			kinds, items = append(kinds, s.Kind), append(items, len(s.Items))
		}
		if len(units) != 1 || !slices.Equal(kinds, c.kinds) || !slices.Equal(items, c.items) {
			t.Errorf("%s: %d units, kinds %v with %v items", c.name, len(units), kinds, items)
		}
	}
}
