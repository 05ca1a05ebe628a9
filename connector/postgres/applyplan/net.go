package applyplan

import "github.com/entrainsync/entrain"

// state is what a window's events so far make of one key.
type state uint8

const (
	inserted state = iota + 1 // the row is new
	updated                   // the row was there, some columns are new
	deleted                   // the row was there (or may have been), now it is gone
	replaced                  // the row was deleted and then inserted anew
)

// net is the net operation on one key.
type net struct {
	state state
	// merged: item.Row is in the arena, and this net's alone to write.
	merged bool
	// marked: behind what state says, the row is deleted, and the target keeps it with
	// the values that item.Row has. Only of targets that do.
	marked bool
	table  int32 // in window.tables
	item   Item
}

// window collects the net operations of one unit between two barriers.
type window struct {
	nets   []net
	keys   keyIndex
	tables []tableWork
	byRank []*tableWork
	// arena holds rows that were put together from several events, for the
	// whole plan: len(arena) <= maxArena.
	arena []byte
	draft []byte // the row that is being put together
}

// maxArena bounds the memory for merged rows of one plan. Merged rows can be
// far larger than their events, which leave out what did not change.
const maxArena = 4 << 20

// tableWork counts what a window does to one target.
type tableWork struct {
	target *Target
	rank   int
	// What there is to do besides updates; grows only.
	hasDeletes, hasInserts, hasMarks bool
	// Steps of the flush under way: deletes, inserts, deletes of what the window stores
	// before, updates that carry every column (-1: none), updates that leave columns
	// alone.
	deletes, inserts, marks, full int32
	partial                       []int32
}

func (w *window) reset() {
	clear(w.nets)
	w.nets = w.nets[:0]
	w.tables = w.tables[:0]
	clear(w.byRank)
	w.keys.reset()
}

// table returns the index of t's work, or -1 if the window holds work of
// another shape of the same relation: then it has to be flushed first.
func (w *window) table(t *Target, g *Graph) int32 {
	for i := range w.tables {
		known := w.tables[i].target
		if known == t {
			return int32(i)
		}
		if known.Relation == t.Relation {
			return -1
		}
	}
	i := len(w.tables)
	if i < cap(w.tables) {
		w.tables = w.tables[:i+1]
	} else {
		w.tables = append(w.tables, tableWork{})
	}
	tw := &w.tables[i]
	*tw = tableWork{target: t, rank: g.Rank(t.Relation), deletes: -1, inserts: -1, marks: -1, full: -1, partial: tw.partial[:0]}
	return int32(i)
}

// add merges an event into the window. It reports false if the event does not
// follow from what the window knows of its key; then it is a barrier.
func (w *window) add(e *entrain.Event, index, table int32) bool {
	t := w.tables[table].target
	image := keyImage(e)
	if !t.keyKnown(image) || adds(e.Op) && partial(t, e.After) {
		return false
	}
	hash := t.hashKey(w.keys.seed, image)
	s := w.keys.at(hash, func(i int32) bool {
		n := &w.nets[i]
		return n.table == table && t.sameKey(n.item.identity(), image)
	})
	if s.epoch == w.keys.epoch {
		if !w.merge(&w.nets[s.net], e, index) {
			return false
		}
		w.tables[table].note(&w.nets[s.net])
		return true
	}
	w.keys.put(s, hash, int32(len(w.nets)))
	n := net{table: table, item: Item{Event: index, Target: t, Key: image, Row: e.After, MayMiss: e.Settling, Settling: settles(e)}}
	switch e.Op {
	case entrain.OpInsert, entrain.OpRead:
		n.state, n.item.Op, n.item.Key = inserted, Insert, nil
	case entrain.OpUpdate:
		n.state, n.item.Op = updated, Update
	case entrain.OpDelete:
		n.state, n.item.Op, n.item.Row = deleted, Delete, nil
		n.item.MayMiss = e.Settling || t.Cascaded
	}
	w.nets = append(w.nets, n)
	w.tables[table].note(&n)
	return true
}

// note remembers which steps a net will need. A state that another one
// replaces later may leave a step empty, which the executor passes over.
func (tw *tableWork) note(n *net) {
	tw.hasDeletes = tw.hasDeletes || n.state == deleted || n.state == replaced
	tw.hasInserts = tw.hasInserts || n.state == inserted || n.state == replaced
	tw.hasMarks = tw.hasMarks || n.marked
}

// identity is an image that has the key of the row.
func (i *Item) identity() entrain.Row {
	if i.Key != nil {
		return i.Key
	}
	return i.Row
}

// merge takes the next event of a key that the window knows.
func (w *window) merge(n *net, e *entrain.Event, index int32) bool {
	exists := n.state != deleted && !n.marked
	switch {
	case adds(e.Op) && !exists:
		n.item.MayMiss = n.item.MayMiss || n.state == inserted
		n.state, n.item.Op, n.item.Row = replaced, Insert, e.After
		n.marked, n.merged = false, false
	case adds(e.Op) && settles(e):
		// Whatever is known of the row, this is what it becomes. One that was
		// deleted before stays one that is made anew.
		if n.state == updated {
			n.state, n.item.Op = inserted, Insert
		}
		n.item.Row, n.merged = e.After, false
	case e.Op == entrain.OpUpdate && exists && !partial(n.item.Target, e.After):
		n.item.Row, n.merged = e.After, false
	case e.Op == entrain.OpUpdate && exists:
		if !w.overlay(n, e.After) {
			return false
		}
	case e.Op == entrain.OpDelete && exists && n.item.Target.KeepsDeleted:
		n.marked, n.item.Key = true, e.Before
	case e.Op == entrain.OpDelete && exists:
		// A row that only this window made is gone without a trace, unless
		// the target had one with its key: the delete settles both.
		n.item.MayMiss = n.item.MayMiss || n.state == inserted || n.item.Target.Cascaded
		n.state, n.item.Op = deleted, Delete
		n.item.Key, n.item.Row, n.merged = e.Before, nil, false
	default:
		return false
	}
	n.item.Event = index
	n.item.MayMiss = n.item.MayMiss || e.Settling
	n.item.Settling = n.item.Settling || settles(e)
	return true
}

// overlay sets the columns that newer carries in the net's row. It reports
// false if there is no room for the result.
func (w *window) overlay(n *net, newer entrain.Row) bool {
	w.draft = appendOverlay(w.draft[:0], n.item.Target, n.item.Row, newer)
	if n.merged && len(w.draft) <= cap(n.item.Row) {
		n.item.Row = append(n.item.Row[:0], w.draft...)
		return true
	}
	start := len(w.arena)
	if start+len(w.draft) > maxArena {
		return false
	}
	w.arena = append(w.arena, w.draft...)
	n.item.Row, n.merged = w.arena[start:len(w.arena):len(w.arena)], true
	return true
}

// appendOverlay appends old with the columns that newer carries.
func appendOverlay(dst []byte, t *Target, old, newer entrain.Row) []byte {
	n := len(t.Table.Columns)
	var b entrain.RowBuilder
	b.Begin(dst, n)
	for c := range n {
		v, state := newer.Column(c, n)
		if state == entrain.Unchanged {
			v, state = old.Column(c, n)
		}
		switch state {
		case entrain.Present:
			b.Value(v)
		case entrain.Null:
			b.Null()
		case entrain.Unchanged:
			b.Unchanged()
		}
	}
	_, dst = b.End()
	return dst
}

// partial reports whether row leaves a column out.
func partial(t *Target, row entrain.Row) bool {
	for c := range t.Table.Columns {
		if row.State(c) == entrain.Unchanged {
			return true
		}
	}
	return false
}

// sameColumns reports whether two rows carry the same columns.
func sameColumns(t *Target, a, b entrain.Row) bool {
	for c := range t.Table.Columns {
		if (a.State(c) == entrain.Unchanged) != (b.State(c) == entrain.Unchanged) {
			return false
		}
	}
	return true
}
