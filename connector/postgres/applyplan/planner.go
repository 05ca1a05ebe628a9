package applyplan

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// Order says which groups of a window come first.
type Order uint8

const (
	// DeletesFirst: deletes, updates, inserts. Values that must be unique are
	// free before they are taken again.
	DeletesFirst Order = iota
	// InsertsFirst: inserts, updates, deletes. Rows are there before others
	// point to them.
	InsertsFirst
)

// Work is what a plan is made of.
type Work struct {
	Events []entrain.Event
	// Pick selects events by index, ascending; nil means all.
	Pick   []int32
	Lookup Lookup
	Graph  *Graph
	Order  Order
}

// Planner makes plans and keeps its buffers from one to the next. What it
// returns is valid until its next call, and no longer than the events. It is
// for one goroutine. The zero Planner is ready.
type Planner struct {
	units  []Unit
	steps  []Step
	used   int // of steps
	first  int // step of the unit under way
	window window
	split  splitter
	order  Order
	graph  *Graph
}

// retainArena is how large a buffer for merged rows a Planner keeps.
const retainArena = 1 << 20

// Reset drops every reference to the events of the last plan.
func (p *Planner) Reset() {
	for i := range p.steps[:p.used] {
		clear(p.steps[i].Items)
		p.steps[i].Items = p.steps[i].Items[:0]
	}
	p.used, p.first = 0, 0
	p.units = p.units[:0]
	p.window.reset()
	p.window.arena = retain(p.window.arena)
	p.window.draft = retain(p.window.draft)
}

// retain empties a buffer, and gives it back if it has become large.
func retain(buf []byte) []byte {
	if cap(buf) > retainArena {
		return nil
	}
	return buf[:0]
}

// Plan splits the work into units and groups each as far as its mode allows.
// Messages and the ends of tables are in no unit.
func (p *Planner) Plan(w Work) []Unit {
	p.Reset()
	p.order, p.graph = w.Order, w.Graph
	p.units = p.split.units(w, p.units)
	for i := range p.units {
		u := &p.units[i]
		p.first = p.used
		switch u.Mode {
		case Strict:
			p.rows(w, u.Events)
		case Ordered:
			p.ordered(w, u.Events)
		case Grouped:
			p.grouped(w, u.Events)
		}
		u.Steps = p.steps[p.first:p.used:p.used]
	}
	return p.units
}

// Runs is the first step down: source order, but neighbouring operations of
// one kind on one target, no key twice, are one statement again, as they often
// were at the source.
func (p *Planner) Runs(w Work) []Step {
	p.Reset()
	p.order, p.graph = w.Order, w.Graph
	for _, i := range w.Pick {
		e := &w.Events[i]
		item, kind := itemOf(e, i, w.Lookup)
		if item.Target != nil && item.Target.Mode != Grouped {
			kind = Rows
		}
		p.appendRun(kind, item)
	}
	return p.steps[:p.used]
}

// appendRun adds an item to the step under way if it fits, else to a new one.
func (p *Planner) appendRun(kind Kind, item Item) {
	if kind != Rows && !item.Target.keyKnown(item.identity()) {
		kind = Rows
	}
	if p.used > p.first {
		last := &p.steps[p.used-1]
		fits := last.Kind == kind && last.Target == targetOf(kind, item)
		if fits && (kind == Rows || p.claim(item) && sameShape(kind, last.Items[0], item)) {
			last.Items = append(last.Items, item)
			return
		}
	}
	s := &p.steps[p.step(kind, targetOf(kind, item))]
	s.Items = append(s.Items, item)
	p.window.reset()
	if kind != Rows {
		p.claim(item)
	}
}

func targetOf(kind Kind, item Item) *Target {
	if kind == Rows {
		return nil
	}
	return item.Target
}

func sameShape(kind Kind, a, b Item) bool {
	return kind != Updates || sameColumns(a.Target, a.Row, b.Row)
}

// claim notes the item's key, and reports false if the step has it already.
func (p *Planner) claim(item Item) bool {
	w := &p.window
	t := item.Target
	image := item.identity()
	hash := t.hashKey(w.keys.seed, image)
	s := w.keys.at(hash, func(i int32) bool { return t.sameKey(w.nets[i].item.identity(), image) })
	if s.epoch == w.keys.epoch {
		return false
	}
	w.keys.put(s, hash, int32(len(w.nets)))
	w.nets = append(w.nets, net{item: item})
	return true
}

// Rows is the last step down: every event for itself, in source order.
func (p *Planner) Rows(w Work) []Step {
	p.Reset()
	p.rows(w, w.Pick)
	return p.steps[:p.used]
}

func (p *Planner) rows(w Work, pick []int32) {
	if pick == nil {
		for i := range w.Events {
			p.row(w, int32(i))
		}
		return
	}
	for _, i := range pick {
		p.row(w, i)
	}
}

func (p *Planner) row(w Work, i int32) {
	e := &w.Events[i]
	if noRow(e) {
		return
	}
	item, _ := itemOf(e, i, w.Lookup)
	p.push(item)
}

// ordered keeps source order and joins neighbouring inserts of one target.
func (p *Planner) ordered(w Work, pick []int32) {
	for _, i := range pick {
		item, kind := itemOf(&w.Events[i], i, w.Lookup)
		if kind != Inserts || item.Target.Mode == Strict {
			p.push(item)
			continue
		}
		if p.used > p.first {
			last := &p.steps[p.used-1]
			if last.Kind == Inserts && last.Target == item.Target {
				last.Items = append(last.Items, item)
				continue
			}
		}
		s := &p.steps[p.step(Inserts, item.Target)]
		s.Items = append(s.Items, item)
	}
}

// grouped makes net operations between barriers.
func (p *Planner) grouped(w Work, pick []int32) {
	if p.inserts(w, pick) {
		return
	}
	p.window.reset()
	for _, i := range pick {
		e := &w.Events[i]
		item, kind := itemOf(e, i, w.Lookup)
		if kind == Rows {
			p.flush()
			p.push(item)
			continue
		}
		table := p.window.table(item.Target, p.graph)
		if table < 0 {
			p.flush()
			table = p.window.table(item.Target, p.graph)
		}
		if !p.window.add(e, i, table) {
			p.flush()
			p.push(item)
		}
	}
	p.flush()
}

// inserts makes one step of events that are whole new rows of one table: those
// need no net operations. It reports false, and makes none, if there is anything
// else, or if a key may well be there twice.
func (p *Planner) inserts(w Work, pick []int32) bool {
	if len(pick) == 0 || w.Events[pick[0]].Table == nil {
		return false
	}
	table := w.Events[pick[0]].Table
	t := w.Lookup(table)
	s := &p.steps[p.step(Inserts, t)]
	for _, i := range pick {
		e := &w.Events[i]
		if !adds(e.Op) || settles(e) || e.Table != table || partial(t, e.After) {
			clear(s.Items)
			s.Items = s.Items[:0]
			p.used--
			return false
		}
		s.Items = append(s.Items, Item{Op: Insert, Event: i, Target: t, Row: e.After})
	}
	return true
}

// push adds an item to the step of single rows under way, or begins one.
func (p *Planner) push(item Item) {
	if p.used == p.first || p.steps[p.used-1].Kind != Rows {
		p.step(Rows, nil)
	}
	s := &p.steps[p.used-1]
	s.Items = append(s.Items, item)
}

// step begins a new step and returns its index.
func (p *Planner) step(kind Kind, t *Target) int32 {
	if p.used == len(p.steps) {
		p.steps = append(p.steps, Step{})
	}
	s := &p.steps[p.used]
	s.Kind, s.Target, s.Items = kind, t, s.Items[:0]
	p.used++
	return int32(p.used - 1)
}

// adds reports whether an operation stores a whole row. One that was read may be
// there already, as may one that is inserted: either replaces what it meets.
func adds(op entrain.Op) bool { return op == entrain.OpInsert || op == entrain.OpRead }

// settles reports whether an event may meet a later state of its row.
func settles(e *entrain.Event) bool { return e.Settling || e.Op == entrain.OpRead }

// noRow reports whether an event does nothing to the target's rows.
func noRow(e *entrain.Event) bool {
	return e.Op == entrain.OpMessage || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd && !swaps(e)
}

// swaps reports whether an event puts a double in its table's place.
func swaps(e *entrain.Event) bool {
	return e.Op == entrain.OpReadEnd && e.Table != nil && e.Table.Shadow
}

// itemOf makes the item that one event is by itself, and says which kind of
// set it may be part of; Rows if none.
func itemOf(e *entrain.Event, i int32, lookup Lookup) (Item, Kind) {
	if e.Op == entrain.OpTruncate {
		return truncateOf(e, i, lookup), Rows
	}
	t := lookup(e.Table)
	item := Item{Event: i, Target: t, MayMiss: e.Settling, Settling: settles(e)}
	switch e.Op {
	case entrain.OpReadEnd:
		item.Op = Swap
		return item, Rows
	case entrain.OpInsert, entrain.OpRead:
		item.Op, item.Row = Insert, e.After
		if partial(t, e.After) {
			return item, Rows
		}
		return item, Inserts
	case entrain.OpUpdate:
		item.Op, item.Key, item.Row = Update, keyImage(e), e.After
		if t.rekeys(e) {
			item.Op = Rekey
			return item, Rows
		}
		return item, Updates
	default:
		item.Op, item.Key, item.MayMiss = Delete, e.Before, e.Settling || t.Cascaded
		return item, Deletes
	}
}

// truncateOf makes the item of a truncate, which is either of tables or of one
// double.
func truncateOf(e *entrain.Event, i int32, lookup Lookup) Item {
	if tables := e.Truncate.Tables; len(tables) > 0 && tables[0].Shadow {
		return Item{Op: Begin, Event: i, Target: lookup(tables[0])}
	}
	return Item{Op: Truncate, Event: i}
}

// flush turns the window's net operations into steps in the order in which
// the groups commute, and empties it.
func (p *Planner) flush() {
	w := &p.window
	if len(w.nets) == 0 {
		return
	}
	order := p.order
	if slices.ContainsFunc(w.nets, func(n net) bool { return n.state == replaced }) {
		order = DeletesFirst
	}
	p.openSteps(order)
	for i := range w.nets {
		p.deal(&w.nets[i])
	}
	w.reset()
}

// openSteps begins the steps that the window needs, in order, and fills those
// of the updates.
func (p *Planner) openSteps(order Order) {
	w := &p.window
	w.byRank = w.byRank[:0]
	for i := range w.tables {
		w.byRank = append(w.byRank, &w.tables[i])
	}
	slices.SortStableFunc(w.byRank, func(a, b *tableWork) int { return a.rank - b.rank })
	if order == InsertsFirst {
		p.openInserts()
		p.updates()
		p.openDeletes()
	} else {
		p.openDeletes()
		p.updates()
		p.openInserts()
	}
	p.openMarks()
}

// openMarks begins the steps that delete what others of the window store: that is
// what the target keeps of the rows.
func (p *Planner) openMarks() {
	for _, tw := range slices.Backward(p.window.byRank) {
		if tw.hasMarks {
			tw.marks = p.step(Deletes, tw.target)
		}
	}
}

func (p *Planner) openDeletes() {
	for _, tw := range slices.Backward(p.window.byRank) {
		if tw.hasDeletes {
			tw.deletes = p.step(Deletes, tw.target)
		}
	}
}

func (p *Planner) openInserts() {
	for _, tw := range p.window.byRank {
		if tw.hasInserts {
			tw.inserts = p.step(Inserts, tw.target)
		}
	}
}

// updates makes one step for each table and set of columns.
func (p *Planner) updates() {
	for i := range p.window.nets {
		n := &p.window.nets[i]
		if n.state != updated {
			continue
		}
		s := p.updateStep(&p.window.tables[n.table], n.item.Row)
		s.Items = append(s.Items, n.item)
	}
}

// updateStep returns the step for the columns that row carries, beginning it
// if need be.
func (p *Planner) updateStep(tw *tableWork, row entrain.Row) *Step {
	t := tw.target
	if !partial(t, row) {
		if tw.full < 0 {
			tw.full = p.step(Updates, t)
		}
		return &p.steps[tw.full]
	}
	for _, i := range tw.partial {
		if sameColumns(t, p.steps[i].Items[0].Row, row) {
			return &p.steps[i]
		}
	}
	i := p.step(Updates, t)
	tw.partial = append(tw.partial, i)
	return &p.steps[i]
}

// deal puts a net operation that deletes, inserts or marks into its steps.
func (p *Planner) deal(n *net) {
	tw := &p.window.tables[n.table]
	if n.state == deleted || n.state == replaced {
		item := n.item
		item.Op, item.Row = Delete, nil
		s := &p.steps[tw.deletes]
		s.Items = append(s.Items, item)
	}
	if n.state == inserted || n.state == replaced {
		item := n.item
		item.Key = nil
		s := &p.steps[tw.inserts]
		s.Items = append(s.Items, item)
	}
	if n.marked {
		item := n.item
		item.Op, item.Row = Delete, nil
		s := &p.steps[tw.marks]
		s.Items = append(s.Items, item)
	}
}
