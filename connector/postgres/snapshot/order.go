package snapshot

import (
	"cmp"
	"slices"
)

// edge says that one table refers to another, both by their oids.
type edge struct{ from, to string }

// order sorts tables so that those that are referred to come first, as far as
// there is such an order, else by their names.
func order(tables []*table, edges []edge) []*table {
	left := slices.SortedFunc(slices.Values(tables), byName)
	waits := map[string]map[string]bool{} // for which tables one waits
	for _, t := range left {
		waits[t.oid] = map[string]bool{}
	}
	for _, e := range edges {
		if waits[e.from] != nil && waits[e.to] != nil && e.from != e.to {
			waits[e.from][e.to] = true
		}
	}
	var sorted []*table
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(t *table) bool { return len(waits[t.oid]) == 0 })
		i = max(i, 0) // a circle: the first one begins it
		next := left[i]
		left = slices.Delete(left, i, i+1)
		sorted = append(sorted, next)
		for _, t := range left {
			delete(waits[t.oid], next.oid)
		}
	}
	return sorted
}

// tie gives tables that refer to each other, directly or by way of others, one
// group; the others have group 0.
func tie(tables []*table, edges []edge) {
	byOID := make(map[string]*table, len(tables))
	for _, t := range tables {
		byOID[t.oid] = t
	}
	last := 0
	for _, e := range edges {
		a, b := byOID[e.from], byOID[e.to]
		if a == nil || b == nil || a == b {
			continue
		}
		last++
		for _, t := range tables {
			if t == a || t == b || t.group != 0 && (t.group == a.group || t.group == b.group) {
				t.joins = true
			}
		}
		for _, t := range tables {
			if t.joins {
				t.group, t.joins = last, false
			}
		}
	}
}

func byName(a, b *table) int {
	return cmp.Or(cmp.Compare(a.shape.Schema, b.shape.Schema), cmp.Compare(a.shape.Name, b.shape.Name))
}
