package applyplan

import "slices"

// ForeignKey is a reference between two relations of the target.
type ForeignKey struct {
	Child, Parent uint32
	// Deferrable references are checked at the end of the transaction (the
	// executor defers them); they put no order on the statements.
	Deferrable bool
}

// Graph knows how the target's tables depend on each other. It is immutable.
type Graph struct {
	component map[uint32]uint32
	rank      map[uint32]int
	cyclic    map[uint32]bool
}

// NewGraph builds a graph. alike are pairs of relations that are parts of one
// table (a partition and its parent).
func NewGraph(keys []ForeignKey, alike [][2]uint32) *Graph {
	g := &Graph{component: map[uint32]uint32{}, rank: map[uint32]int{}, cyclic: map[uint32]bool{}}
	for _, k := range keys {
		g.join(k.Child, k.Parent)
	}
	for _, pair := range alike {
		g.join(pair[0], pair[1])
	}
	g.rankAll(hardParents(keys))
	return g
}

// Component names the set of relations that references connect with rel.
func (g *Graph) Component(rel uint32) uint32 {
	for {
		parent, ok := g.component[rel]
		if !ok || parent == rel {
			return rel
		}
		rel = parent
	}
}

// Linked reports whether a reference starts or ends at rel, to itself
// included, or rel is part of another relation or has parts.
func (g *Graph) Linked(rel uint32) bool {
	_, ok := g.component[rel]
	return ok
}

// Rank is larger for a child than for each of its parents.
func (g *Graph) Rank(rel uint32) int { return g.rank[rel] }

// Cyclic reports that rel lies on, or depends on, a cycle of references that
// cannot be deferred.
func (g *Graph) Cyclic(rel uint32) bool { return g.cyclic[rel] }

func (g *Graph) join(a, b uint32) {
	a, b = g.Component(a), g.Component(b)
	g.component[a] = a
	g.component[b] = a
}

// hardParents lists for each relation the other relations that must have
// their rows first.
func hardParents(keys []ForeignKey) map[uint32][]uint32 {
	parents := map[uint32][]uint32{}
	for _, k := range keys {
		if k.Deferrable || k.Child == k.Parent {
			continue
		}
		if !slices.Contains(parents[k.Child], k.Parent) {
			parents[k.Child] = append(parents[k.Child], k.Parent)
		}
		if _, ok := parents[k.Parent]; !ok {
			parents[k.Parent] = nil
		}
	}
	return parents
}

// rankAll gives each relation whose parents all have a rank the next higher
// one, until nothing changes; what is left depends on a cycle.
func (g *Graph) rankAll(parents map[uint32][]uint32) {
	for progress := true; progress; {
		progress = false
		for rel, ps := range parents {
			if rank, ok := g.rankAfter(ps); ok {
				g.rank[rel] = rank
				delete(parents, rel)
				progress = true
			}
		}
	}
	for rel := range parents {
		g.cyclic[rel] = true
	}
}

func (g *Graph) rankAfter(parents []uint32) (int, bool) {
	rank := 0
	for _, p := range parents {
		r, ok := g.rank[p]
		if !ok {
			return 0, false
		}
		rank = max(rank, r+1)
	}
	return rank, true
}
