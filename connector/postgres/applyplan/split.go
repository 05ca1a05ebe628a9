package applyplan

import "github.com/entrainsync/entrain"

// splitter divides a batch into units.
type splitter struct {
	shapes  []shape
	byTable map[*entrain.Table]int32
	last    *entrain.Table
	at      int32   // the shape of last
	pick    []int32 // all units' events, back to back
	strict  bool
}

// shape is one table of the batch and what happens to it there.
type shape struct {
	target *Target
	parent int32 // union-find over shapes
	unit   int32 // of the root
	events int32 // of the root
	// What the batch does that can set off referential actions.
	deletes, updates, rekeys bool
}

// units appends the units of w to dst.
func (s *splitter) units(w Work, dst []Unit) []Unit {
	s.reset()
	s.scan(w)
	s.joinComponents(w.Graph)
	for i := range s.shapes {
		s.shapes[i].unit = -1
	}
	total := 0
	s.each(w, func(i, sh int32) {
		s.shapes[s.root(sh)].events++
		total++
	})
	if cap(s.pick) < total {
		s.pick = make([]int32, total)
	}
	free := s.pick[:total]
	s.each(w, func(i, sh int32) {
		root := &s.shapes[s.root(sh)]
		if root.unit < 0 {
			root.unit = int32(len(dst))
			dst = append(dst, Unit{Events: free[:0:root.events]})
			free = free[root.events:]
		}
		u := &dst[root.unit]
		u.Events = append(u.Events, i)
	})
	s.setModes(w.Graph, dst)
	return dst
}

func (s *splitter) reset() {
	s.shapes = s.shapes[:0]
	if s.byTable == nil {
		s.byTable = map[*entrain.Table]int32{}
	}
	clear(s.byTable)
	s.last = nil
	s.strict = false
}

// each calls do with every picked event that does something to rows, and its shape.
func (s *splitter) each(w Work, do func(event, shape int32)) {
	visit := func(i int32) {
		switch e := &w.Events[i]; e.Op {
		case entrain.OpMessage, entrain.OpReadEnd, entrain.OpSchema:
		case entrain.OpTruncate:
			if len(e.Truncate.Tables) > 0 {
				do(i, s.shapeOf(e.Truncate.Tables[0], w.Lookup))
			}
		default:
			do(i, s.shapeOf(e.Table, w.Lookup))
		}
	}
	if w.Pick == nil {
		for i := range w.Events {
			visit(int32(i))
		}
		return
	}
	for _, i := range w.Pick {
		visit(i)
	}
}

func (s *splitter) shapeOf(t *entrain.Table, lookup Lookup) int32 {
	if t == s.last {
		return s.at
	}
	i, ok := s.byTable[t]
	if !ok {
		i = int32(len(s.shapes))
		s.shapes = append(s.shapes, shape{target: lookup(t), parent: i})
		s.byTable[t] = i
	}
	s.last, s.at = t, i
	return i
}

// scan meets all tables and what happens to them.
func (s *splitter) scan(w Work) {
	s.each(w, func(i, at int32) {
		e := &w.Events[i]
		sh := &s.shapes[at]
		switch e.Op {
		case entrain.OpDelete:
			sh.deletes = true
		case entrain.OpUpdate:
			sh.updates = true
			sh.rekeys = sh.rekeys || sh.target.ActsOnRekey && sh.target.rekeys(e)
		case entrain.OpTruncate:
			for _, t := range e.Truncate.Tables {
				s.join(at, s.shapeOf(t, w.Lookup))
			}
		}
	})
}

// joinComponents joins shapes that are connected by references, and all if
// one of them sees all.
func (s *splitter) joinComponents(g *Graph) {
	byComponent := map[uint32]int32{}
	for i := range s.shapes {
		c := g.Component(s.shapes[i].target.Relation)
		if first, ok := byComponent[c]; ok {
			s.join(first, int32(i))
		} else {
			byComponent[c] = int32(i)
		}
		s.strict = s.strict || s.shapes[i].target.Mode == Strict
	}
	if !s.strict {
		return
	}
	for i := range s.shapes {
		s.join(0, int32(i))
	}
}

func (s *splitter) root(i int32) int32 {
	for s.shapes[i].parent != i {
		i = s.shapes[i].parent
	}
	return i
}

func (s *splitter) join(a, b int32) {
	a, b = s.root(a), s.root(b)
	if a != b {
		s.shapes[max(a, b)].parent = min(a, b)
	}
}

func (s *splitter) setModes(g *Graph, units []Unit) {
	onCycle := make(map[int32]uint32, len(units)) // unit → a relation of a cycle
	for i := range s.shapes {
		sh := &s.shapes[i]
		at := s.shapes[s.root(int32(i))].unit
		u := &units[at]
		u.Mode = max(u.Mode, sh.mode())
		u.Linked = u.Linked || g.Linked(sh.target.Relation)
		if !g.Cyclic(sh.target.Relation) {
			continue
		}
		if other, ok := onCycle[at]; ok && other != sh.target.Relation {
			u.Mode = max(u.Mode, Ordered)
		}
		onCycle[at] = sh.target.Relation
	}
}

// mode is the mode that one table asks for in this batch.
func (sh *shape) mode() Mode {
	t := sh.target
	acts := t.ActsOnDelete && sh.deletes || t.ActsOnRekey && sh.rekeys || t.ActsOnUpdate && sh.updates
	if acts {
		return max(t.Mode, Ordered)
	}
	return t.Mode
}
