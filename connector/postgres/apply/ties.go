package apply

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dependency"
)

// ties are what rows of a table can have in common with others.
type ties struct {
	table  uint64   // the table, or the whole that it is a part of
	key    columnID // of what identifies rows; without columns the table is one thing
	unique []columnID
	refers []columnID // foreign keys, by what they point to
}

// columnID is a set of columns whose values are compared with others of the
// same id.
type columnID struct {
	id      uint64
	columns []int // of the source, in the order in which values are compared
	inKey   bool  // all are part of the key
}

// tieSeed is one for all sessions of the process: ids outlive a catalog.
var tieSeed = maphash.MakeSeed()

func tieID(parts ...string) uint64 { return maphash.String(tieSeed, strings.Join(parts, "\x00")) }

// describeTies notes what transactions that touch the table depend on. What
// cannot be told by text (equality that is not that of bytes, indexes on
// expressions) is left out, where the target itself refuses or makes wait what
// comes too early; a key that cannot makes the whole table one thing.
func (c *catalog) describeTies(st *targetTable, oid string, indexes [][]string) {
	root := oid
	for c.parent[root] != "" {
		root = c.parent[root]
	}
	st.tied.table = tieID("table", root)
	if st.unique && st.bytewiseKey() {
		columns := slices.Clone(st.Key)
		slices.SortFunc(columns, func(a, b int) int { return strings.Compare(st.columns[a].name, st.columns[b].name) })
		names := []string{"key", root}
		for _, i := range columns {
			names = append(names, st.columns[i].name)
		}
		st.tied.key = columnID{id: tieID(names...), columns: columns, inKey: true}
	}
	for _, row := range indexes {
		nums := strings.Fields(row[2])
		st.tie(&st.tied.unique, oid, [2][]string{nums, nums})
	}
	for _, ref := range c.refs {
		if ref.child == oid {
			st.tie(&st.tied.refers, ref.parent, [2][]string{ref.columns, ref.childColumns})
		}
	}
}

// tie adds a set: pairs are the columns of the table that has the values unique,
// and this table's for them.
func (st *targetTable) tie(to *[]columnID, unique string, pairs [2][]string) {
	order := make([]int, len(pairs[0]))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(pairs[0][a], pairs[0][b]) })
	set := columnID{inKey: true}
	names := []string{"unique", unique}
	for _, i := range order {
		at := slices.IndexFunc(st.columns, func(c sinkColumn) bool { return c.num == pairs[1][i] })
		if at < 0 || !st.columns[at].bytewise {
			return
		}
		set.columns = append(set.columns, at)
		set.inKey = set.inKey && st.key[at]
		names = append(names, pairs[0][i])
	}
	set.id = tieID(names...)
	*to = append(*to, set)
}

// touched gathers what a transaction touches.
type touched struct {
	list []dependency.Touch
	// keys is by table what its rows are told apart by; a second way makes a
	// transaction unknown.
	keys map[uint64]uint64
}

func (x *touched) add(what uint64, mode dependency.Mode) {
	x.list = append(x.list, dependency.Touch{What: what, Mode: mode})
}

// event adds what an event touches, and reports false if that cannot be told:
// code of the target's own runs, or rows are changed that the event does not name.
func (x *touched) event(t *targetTable, e *entrain.Event) bool {
	acts := e.Op == entrain.OpDelete && t.ActsOnDelete || e.Op == entrain.OpUpdate && (t.ActsOnUpdate || t.ActsOnRekey && e.Before != nil)
	if acts || t.Mode == applyplan.Strict || e.Settling || e.Table.Shadow {
		return false
	}
	if x.keys[t.tied.table] == 0 {
		x.keys[t.tied.table] = t.tied.key.id
	}
	if x.keys[t.tied.table] != t.tied.key.id {
		return false
	}
	if len(t.tied.key.columns) == 0 || t.Mode == applyplan.Ordered {
		x.add(t.tied.table, dependency.Takes)
	} else {
		x.add(t.tied.table, dependency.Refers)
		if !x.values(&t.tied.key, e) {
			return false
		}
	}
	for i := range t.tied.unique {
		x.values(&t.tied.unique[i], e)
	}
	for i := range t.tied.refers {
		set, n := &t.tied.refers[i], len(t.columns)
		for _, image := range []entrain.Row{e.Before, e.After} {
			if what, ok := set.hash(image, n); ok {
				x.add(what, dependency.Refers)
			}
		}
	}
	return true
}

// values adds the values that an event takes, gives up or changes the row of;
// it reports false if it found none.
func (x *touched) values(set *columnID, e *entrain.Event) bool {
	n := len(e.Table.Columns)
	now, has := set.hash(e.After, n)
	old, had := set.hash(e.Before, n)
	if e.Op == entrain.OpUpdate && e.Before != nil && set.inKey && !had {
		return false // the key may have changed
	}
	keeps := e.Op == entrain.OpUpdate && has && (had && old == now || e.Before == nil && set.inKey)
	switch {
	case keeps:
		x.add(now, dependency.Changes)
		return true
	case has && had:
		x.add(old, dependency.Takes)
		x.add(now, dependency.Takes)
	case has:
		x.add(now, dependency.Takes)
	case had:
		x.add(old, dependency.Takes)
	}
	return has || had
}

// hash is that of a row's values; ok is false if one is NULL, which is equal to
// nothing, or not in the image.
func (s *columnID) hash(row entrain.Row, columns int) (what uint64, ok bool) {
	if row == nil {
		return 0, false
	}
	var h maphash.Hash
	h.SetSeed(tieSeed)
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], s.id)
	_, _ = h.Write(number[:])
	for _, i := range s.columns {
		v, state := row.Column(i, columns)
		if state != entrain.Present {
			return 0, false
		}
		binary.LittleEndian.PutUint64(number[:], uint64(len(v)))
		_, _ = h.Write(number[:])
		_, _ = h.Write(v)
	}
	return h.Sum64(), true
}
