package entraintest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
)

// Rows is what one table holds: its rows by the text of their key; the columns
// of a composite key are joined by a zero byte. The slices are not modified
// after they were put in. It is not safe for concurrent use.
type Rows map[string][]Cell

// The two ways in which a change does not fit the rows. They show that a
// change was lost or came twice.
var (
	errPresent = errors.New("a row with this key is there already")
	errAbsent  = errors.New("no row has this key")
)

// edit is one row that a change replaces; nil cells stand for no row.
type edit struct {
	key      string
	old, new []Cell
}

// Apply makes the event's change. Unchanged columns keep their value, a
// truncate removes all rows, a message or the end of a read does nothing. A change
// that does not fit what is there, such as an insert of a key that exists, is an
// error and changes nothing; if it settles ([entrain.Event.Settling]), or the row
// was read, it is made to fit. Whether a double is meant does not matter here.
func (r Rows) Apply(e *entrain.Event) error {
	edits, err := r.edits(e)
	if err != nil {
		return err
	}
	for _, d := range edits {
		r.set(d.key, d.new)
	}
	return nil
}

// Clone returns a copy that can be changed independently.
func (r Rows) Clone() Rows { return maps.Clone(r) }

// Diff describes how r differs from want, a line a key, at most ten lines; it
// is empty if they are equal.
func (r Rows) Diff(want Rows) string {
	both := r.Clone()
	if both == nil {
		both = Rows{}
	}
	maps.Copy(both, want)
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(both)) {
		got, has := r[key]
		expected, wanted := want[key]
		switch {
		case !has:
			lines = append(lines, fmt.Sprintf("missing %q: %v", key, expected))
		case !wanted:
			lines = append(lines, fmt.Sprintf("extra %q: %v", key, got))
		case !slices.Equal(got, expected):
			lines = append(lines, fmt.Sprintf("row %q: %v, want %v", key, got, expected))
		}
	}
	if n := len(lines) - 10; n > 0 {
		lines = append(lines[:10], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(lines, "\n")
}

func (r Rows) set(key string, cells []Cell) {
	if cells == nil {
		delete(r, key)
		return
	}
	r[key] = cells
}

// edits says what Apply would do, in order, without doing it.
func (r Rows) edits(e *entrain.Event) ([]edit, error) {
	edits, err := r.strict(e)
	unfit := errors.Is(err, errPresent) || errors.Is(err, errAbsent)
	if unfit && (e.Settling || e.Op == entrain.OpRead) {
		return r.settle(e), nil
	}
	return edits, err
}

// settle is what a change that does not fit does to rows that are being copied.
func (r Rows) settle(e *entrain.Event) []edit {
	after := Cells(e.Table, e.After)
	key, known := keyOf(e.Table, after)
	if e.Op == entrain.OpDelete || !known {
		return nil
	}
	var edits []edit
	was, rekeys := keyOf(e.Table, Cells(e.Table, e.Before))
	if rekeys = rekeys && was != key; rekeys && r[was] != nil {
		edits = append(edits, edit{key: was, old: r[was]})
	}
	whole := !slices.Contains(after, Unchanged)
	switch {
	case r[key] != nil:
		after = merge(r[key], after)
	case e.Op == entrain.OpUpdate && !(rekeys && whole):
		return edits
	}
	return append(edits, edit{key: key, old: r[key], new: after})
}

// strict says what a change does that fits.
func (r Rows) strict(e *entrain.Event) ([]edit, error) {
	switch e.Op {
	case entrain.OpInsert, entrain.OpRead:
		return r.insert(e.Table, Cells(e.Table, e.After))
	case entrain.OpUpdate:
		return r.update(e.Table, Cells(e.Table, e.Before), Cells(e.Table, e.After))
	case entrain.OpDelete:
		key, known := keyOf(e.Table, Cells(e.Table, e.Before))
		if old := r[key]; known && old != nil {
			return []edit{{key: key, old: old}}, nil
		}
		return nil, errAbsent
	case entrain.OpTruncate:
		var edits []edit
		for key, old := range r {
			edits = append(edits, edit{key: key, old: old})
		}
		return edits, nil
	case entrain.OpMessage, entrain.OpReadEnd:
		return nil, nil
	}
	return nil, fmt.Errorf("unknown operation %s", e.Op)
}

func (r Rows) insert(table *entrain.Table, after []Cell) ([]edit, error) {
	if slices.Contains(after, Unchanged) {
		return nil, errors.New("an insert leaves a column unchanged")
	}
	key, known := keyOf(table, after)
	if !known {
		return nil, errors.New("an insert has no key")
	}
	if r[key] != nil {
		return nil, errPresent
	}
	return []edit{{key: key, new: after}}, nil
}

func (r Rows) update(table *entrain.Table, before, after []Cell) ([]edit, error) {
	key, known := keyOf(table, before)
	if !known {
		key, known = keyOf(table, after)
	}
	old := r[key]
	if !known || old == nil {
		return nil, errAbsent
	}
	merged := merge(old, after)
	now, _ := keyOf(table, merged)
	if now == key {
		return []edit{{key: key, old: old, new: merged}}, nil
	}
	if r[now] != nil {
		return nil, errPresent
	}
	return []edit{{key: key, old: old}, {key: now, new: merged}}, nil
}

// merge returns after with the old cells where it is unchanged.
func merge(old, after []Cell) []Cell {
	merged := slices.Clone(after)
	for i, c := range merged {
		if c == Unchanged {
			merged[i] = old[i]
		}
	}
	return merged
}

// keyOf returns the key of a row for [Rows] and whether the row has it. A
// table without key columns is identified by all of them.
func keyOf(table *entrain.Table, cells []Cell) (string, bool) {
	if cells == nil {
		return "", false
	}
	keyed := slices.ContainsFunc(table.Columns, func(c entrain.Column) bool { return c.Key })
	var parts []string
	for i, c := range table.Columns {
		if keyed && !c.Key {
			continue
		}
		if cells[i] == Unchanged {
			return "", false
		}
		parts = append(parts, cells[i].Text)
	}
	return strings.Join(parts, "\x00"), true
}
