package applyplan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	et "github.com/entrainsync/entrain/entraintest"
)

// fixed are three plain tables: p, its child c, and s, which stands alone.
type fixed struct {
	world
	p, c, s *entrain.Table
}

func newFixed(keys ...ForeignKey) *fixed {
	f := &fixed{p: newTable("p", 1), c: newTable("c", 1), s: newTable("s", 1)}
	f.targets = map[*entrain.Table]*Target{}
	for i, t := range []*entrain.Table{f.p, f.c, f.s} {
		f.targets[t] = &Target{Relation: uint32(i + 1), Table: t, Key: []int{0}}
	}
	if keys == nil {
		keys = []ForeignKey{{Child: 2, Parent: 1}}
	}
	f.graph = NewGraph(keys, nil)
	return f
}

func row4(t *entrain.Table, key string, rest ...et.Cell) []et.Cell {
	cells := []et.Cell{et.Text(key), et.Text("1"), et.Text("2"), et.Text("3")}
	copy(cells[1:], rest)
	return cells
}

func insert(t *entrain.Table, key string) entrain.Event { return et.Insert(t, row4(t, key)...) }

func update(t *entrain.Table, key string, rest ...et.Cell) entrain.Event {
	return et.Update(t, row4(t, key, rest...)...)
}

// show writes a plan down: a line a unit, "/" between steps, items as
// operation, table and key.
func show(units []Unit) string {
	var lines []string
	for _, u := range units {
		var steps []string
		for _, s := range u.Steps {
			var items []string
			for i := range s.Items {
				items = append(items, showItem(&s.Items[i]))
			}
			kind := [...]string{"rows", "inserts", "updates", "deletes"}[s.Kind]
			steps = append(steps, kind+" "+strings.Join(items, " "))
		}
		mode := [...]string{"grouped", "ordered", "strict"}[u.Mode]
		lines = append(lines, mode+": "+strings.Join(steps, " / "))
	}
	return strings.Join(lines, "\n")
}

func showItem(i *Item) string {
	if i.Op == Truncate {
		return "truncate"
	}
	miss := ""
	if i.MayMiss {
		miss = "?"
	}
	if i.Op == Begin || i.Op == Swap {
		return [...]string{"begin ", "swap "}[i.Op-Begin] + i.Target.Table.Name
	}
	op := [...]string{"", "+", "~", "-", "→"}[i.Op]
	return fmt.Sprintf("%s%s%s%s", op, i.Target.Table.Name, et.Cells(i.Target.Table, i.identity())[0].Text, miss)
}

type shapeCase struct {
	name   string
	keys   []ForeignKey
	change func(f *fixed)
	order  Order
	events func(f *fixed) []entrain.Event
	want   string
}

var shapeCases = []shapeCase{
	{name: "groups", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), insert(f.p, "1"), update(f.p, "2"), et.Delete(f.p, "3"), et.Delete(f.c, "3")}
	}, want: "grouped: deletes -c3 / deletes -p3 / updates ~p2 / inserts +p1 / inserts +c1"},
	{name: "inserts first", order: InsertsFirst, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{et.Delete(f.p, "3"), et.Delete(f.c, "3"), update(f.c, "2"), insert(f.p, "1")}
	}, want: "grouped: inserts +p1 / updates ~c2 / deletes -c3 / deletes -p3"},
	{name: "replace puts deletes first", order: InsertsFirst, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{et.Delete(f.p, "1"), insert(f.p, "1")}
	}, want: "grouped: deletes -p1 / inserts +p1"},
	{name: "units", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), insert(f.p, "1"), insert(f.s, "2"), insert(f.c, "1")}
	}, want: "grouped: inserts +s1 +s2\ngrouped: inserts +p1 / inserts +c1"},
	{name: "net operations", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), update(f.s, "1"), update(f.s, "2"), update(f.s, "2"),
			insert(f.s, "3"), et.Delete(f.s, "3"), update(f.s, "4"), et.Delete(f.s, "4")}
	}, want: "grouped: deletes -s3? -s4 / updates ~s2 / inserts +s1"},
	{name: "what is deleted is kept", change: func(f *fixed) { f.targets[f.s].KeepsDeleted = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), update(f.s, "1"), et.Delete(f.s, "1"), update(f.s, "2"), et.Delete(f.s, "2"), et.Delete(f.s, "3"),
			update(f.s, "4"), et.Delete(f.s, "4"), insert(f.s, "4")}
	}, want: "grouped: deletes -s3 -s4 / updates ~s2 / inserts +s1 +s4 / deletes -s1 -s2"},
	{name: "sets of columns", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{update(f.s, "1", et.Unchanged), update(f.s, "2"), update(f.s, "3", et.Unchanged), update(f.s, "4", et.Unchanged, et.Unchanged)}
	}, want: "grouped: updates ~s1 ~s3 / updates ~s2 / updates ~s4"},
	{name: "barriers", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), et.Rekey(f.s, []string{"1"}, row4(f.s, "2")...), et.Truncate(f.s), insert(f.s, "3")}
	}, want: "grouped: inserts +s1 / rows →s1 truncate / inserts +s3"},
	{name: "truncate joins units", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), et.Truncate(f.p, f.s)}
	}, want: "grouped: inserts +s1 / rows truncate"},
	{name: "a NULL key is no key", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), et.Insert(f.s, et.Null, et.Null, et.Null, et.Null), et.Delete(f.s, "2")}
	}, want: "grouped: inserts +s1 / rows +s / deletes -s2"},
	{name: "inserts alone are not looked at", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), et.Insert(f.s, et.Null, et.Null, et.Null, et.Null), insert(f.s, "1")}
	}, want: "grouped: inserts +s1 +s +s1"},
	{name: "referential action", change: func(f *fixed) { f.targets[f.p].ActsOnDelete = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), insert(f.c, "2"), et.Delete(f.p, "1"), insert(f.s, "1")}
	}, want: "ordered: inserts +c1 +c2 / rows -p1\ngrouped: inserts +s1"},
	{name: "referential action that nothing sets off", change: func(f *fixed) { f.targets[f.p].ActsOnDelete = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{et.Delete(f.c, "1"), insert(f.p, "1")}
	}, want: "grouped: deletes -c1 / inserts +p1"},
	{name: "action on a new key", change: func(f *fixed) { f.targets[f.p].ActsOnRekey = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{update(f.p, "1"), et.Rekey(f.p, []string{"1"}, row4(f.p, "2")...)}
	}, want: "ordered: rows ~p1 →p1"},
	{name: "action on any update", change: func(f *fixed) { f.targets[f.p].ActsOnUpdate = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{update(f.p, "1"), update(f.p, "1")}
	}, want: "ordered: rows ~p1 ~p1"},
	{name: "cascaded deletes may miss", change: func(f *fixed) { f.targets[f.c].Cascaded = true }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{et.Delete(f.c, "1")}
	}, want: "grouped: deletes -c1?"},
	{name: "triggers", change: func(f *fixed) { f.targets[f.s].Mode = Strict }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), insert(f.s, "1"), insert(f.s, "2"), update(f.s, "1")}
	}, want: "strict: rows +c1 +s1 +s2 ~s1"},
	{name: "hard cycle", keys: []ForeignKey{{Child: 2, Parent: 1}, {Child: 1, Parent: 2}}, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), insert(f.p, "1")}
	}, want: "ordered: inserts +c1 / inserts +p1"},
	{name: "one table of a cycle", keys: []ForeignKey{{Child: 2, Parent: 1}, {Child: 1, Parent: 2}}, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), update(f.c, "1")}
	}, want: "grouped: inserts +c1"},
	{name: "soft cycle", keys: []ForeignKey{{Child: 2, Parent: 1}, {Child: 1, Parent: 2, Deferrable: true}}, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.c, "1"), insert(f.p, "1")}
	}, want: "grouped: inserts +p1 / inserts +c1"},
	{name: "what settles is one operation a key", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{settling(insert(f.s, "1")), settling(insert(f.s, "1")), settling(update(f.s, "2")), settling(insert(f.s, "2")),
			settling(update(f.s, "3")), settling(et.Delete(f.s, "4")), settling(insert(f.s, "4"))}
	}, want: "grouped: deletes -s4? / updates ~s3? / inserts +s1? +s2? +s4?"},
	{name: "reads are one operation a key", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{read(f.s, "1"), read(f.s, "1"), read(f.s, "2")}
	}, want: "grouped: inserts +s1 +s2"},
	{name: "a key change that settles", events: func(f *fixed) []entrain.Event {
		return []entrain.Event{settling(et.Rekey(f.s, []string{"1"}, row4(f.s, "2")...)), settling(insert(f.s, "2"))}
	}, want: "grouped: rows →s1? / inserts +s2?"},
	{name: "a double is a barrier of its table", events: func(f *fixed) []entrain.Event {
		d := f.double(f.p)
		return []entrain.Event{et.Truncate(d), insert(f.s, "1"), read(d, "1"), insert(f.p, "1"), insert(f.c, "1"),
			{Op: entrain.OpReadEnd, Table: d}, insert(f.p, "2"), {Op: entrain.OpReadEnd, Table: f.s}}
	}, want: "grouped: rows begin p / inserts +p1 / inserts +p1 / inserts +c1 / rows swap p / inserts +p2\ngrouped: inserts +s1"},
	{name: "a swap sets off the table's triggers", change: func(f *fixed) { f.targets[f.p].Mode = Strict }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{insert(f.s, "1"), {Op: entrain.OpReadEnd, Table: f.double(f.p)}}
	}, want: "strict: rows +s1 swap p"},
	{name: "a double has no triggers", change: func(f *fixed) { f.targets[f.p].Mode = Strict }, events: func(f *fixed) []entrain.Event {
		return []entrain.Event{read(f.double(f.p), "1"), read(f.s, "1")}
	}, want: "grouped: inserts +p1\ngrouped: inserts +s1"},
}

func settling(e entrain.Event) entrain.Event {
	e.Settling = true
	return e
}

func read(t *entrain.Table, key string) entrain.Event {
	e := insert(t, key)
	e.Op = entrain.OpRead
	return e
}

// double makes the double of a table.
func (f *fixed) double(t *entrain.Table) *entrain.Table {
	d := *t
	d.Shadow = true
	real := f.targets[t]
	f.targets[&d] = &Target{Relation: ^real.Relation, Table: &d, Key: real.Key, Double: &Double{Relation: real.Relation, Mode: real.Mode}}
	return &d
}

// TestPlanShapes proves that plans are as coarse as they may be, and no
// coarser (P3).
func TestPlanShapes(t *testing.T) {
	var planner Planner
	for _, c := range shapeCases {
		t.Run(c.name, func(t *testing.T) {
			f := newFixed(c.keys...)
			if c.change != nil {
				c.change(f)
			}
			got := show(planner.Plan(Work{Events: c.events(f), Lookup: f.lookup, Graph: f.graph, Order: c.order}))
			if got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// TestPlannerKeepsNothing proves P6: after Reset no event is reachable from the
// planner, and planning the same again allocates next to nothing.
func TestPlannerKeepsNothing(t *testing.T) {
	f := newFixed()
	var events []entrain.Event
	for i := range 2000 {
		events = append(events, insert(f.p, fmt.Sprint("i", i)), update(f.c, fmt.Sprint("u", i)))
	}
	var p Planner
	work := Work{Events: events, Lookup: f.lookup, Graph: f.graph}
	p.Plan(work)
	p.Reset()
	for i, s := range p.steps[:cap(p.steps)] {
		for _, item := range s.Items[:cap(s.Items)] {
			if item.Row != nil || item.Key != nil {
				t.Fatalf("step %d still has a row", i)
			}
		}
	}
	for _, n := range p.window.nets[:cap(p.window.nets)] {
		if n.item.Row != nil || n.item.Key != nil {
			t.Fatal("the window still has a row")
		}
	}
	perEvent := testing.AllocsPerRun(5, func() { p.Plan(work) }) / float64(len(events))
	if perEvent > 0.01 {
		t.Errorf("%.3f allocations an event, want none", perEvent)
	}
}

// TestMergedRowsAreBounded proves P6 and P3: large values that many updates
// leave alone are not copied for each of them, and when rows no longer fit the
// result is still that of source order.
func TestMergedRowsAreBounded(t *testing.T) {
	const rounds, body = 6000, 300 << 10
	for _, rows := range []int{1, 2, 60} {
		f := newFixed()
		large := et.Text(strings.Repeat("x", body))
		var events []entrain.Event
		for i := range rows {
			events = append(events, et.Insert(f.p, row4(f.p, fmt.Sprint(i), large)...))
		}
		for i := range rounds {
			events = append(events, update(f.p, fmt.Sprint(i%rows), et.Unchanged, et.Text(fmt.Sprint(i))))
		}
		var p Planner
		work := Work{Events: events, Lookup: f.lookup, Graph: f.graph}
		planned, want := database{}, database{}
		for _, u := range p.Plan(work) {
			if err := planned.run(u, events, f.lookup); err != nil {
				t.Fatal(err)
			}
		}
		if held := cap(p.window.arena) + cap(p.window.draft); held > 2*maxArena {
			t.Errorf("%d rows: %d bytes for merged rows, want %d at most", rows, held, 2*maxArena)
		}
		if err := want.run(Unit{Mode: Strict, Steps: p.Rows(work)}, events, f.lookup); err != nil {
			t.Fatal(err)
		}
		if planned.String() != want.String() {
			t.Errorf("%d rows: the plan does not do what the events do", rows)
		}
	}
}
