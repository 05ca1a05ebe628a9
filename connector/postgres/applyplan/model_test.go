package applyplan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// database is a model of a target: rows by table and key. It refuses what a
// database would refuse of a set statement, so that a plan which relies on
// luck is found out.
type database map[uint32]map[string][]entraintest.Cell

func (d database) clone() database {
	c := database{}
	for rel, rows := range d {
		c[rel] = map[string][]entraintest.Cell{}
		for k, row := range rows {
			c[rel][k] = slices.Clone(row)
		}
	}
	return c
}

func (d database) table(t *Target) map[string][]entraintest.Cell {
	if d[t.Relation] == nil {
		d[t.Relation] = map[string][]entraintest.Cell{}
	}
	return d[t.Relation]
}

func (d database) String() string {
	var lines []string
	for _, rel := range slices.Sorted(maps.Keys(d)) {
		for _, k := range slices.Sorted(maps.Keys(d[rel])) {
			lines = append(lines, fmt.Sprint(rel, " ", k, ": ", d[rel][k]))
		}
	}
	return strings.Join(lines, "\n")
}

func keyText(t *Target, row entrain.Row) string {
	var parts []string
	for _, c := range t.Key {
		parts = append(parts, fmt.Sprintf("%q", entraintest.Cells(t.Table, row)[c].Text))
	}
	return strings.Join(parts, ",")
}

// gone begins the keys of rows that are deleted and kept.
const gone = "gone "

// apply does one item as a single statement would: an insert is an upsert, an
// update or delete of an absent row is nothing, a key change that settles stores
// its row wherever it can.
func (d database) apply(i *Item, e *entrain.Event, lookup Lookup) error {
	if i.Op == Truncate {
		for _, t := range e.Truncate.Tables {
			d.empty(lookup(t))
		}
		return nil
	}
	rows := d.table(i.Target)
	switch i.Op {
	case Begin:
		clear(rows)
	case Swap:
		d[i.Target.Double.Relation] = maps.Clone(rows)
		clear(rows)
	case Insert:
		rows[keyText(i.Target, i.Row)] = entraintest.Cells(i.Target.Table, i.Row)
		delete(rows, gone+keyText(i.Target, i.Row))
	case Delete:
		d.remove(i.Target, keyText(i.Target, i.Key))
	case Update:
		overlayCells(rows[keyText(i.Target, i.Key)], entraintest.Cells(i.Target.Table, i.Row))
	case Rekey:
		return d.rekey(i)
	}
	return nil
}

// remove deletes a row, or keeps it as one that is gone.
func (d database) remove(t *Target, key string) {
	rows := d.table(t)
	row, ok := rows[key]
	if ok && t.KeepsDeleted {
		rows[gone+key] = row
	}
	delete(rows, key)
}

func (d database) empty(t *Target) {
	for key := range maps.Clone(d.table(t)) {
		if !t.KeepsDeleted || !strings.HasPrefix(key, gone) {
			d.remove(t, key)
		}
	}
}

func (d database) rekey(i *Item) error {
	rows := d.table(i.Target)
	old, now := keyText(i.Target, i.Key), keyText(i.Target, i.Row)
	row, ok := rows[old]
	other, taken := rows[now]
	whole := i.Settling && !partial(i.Target, i.Row)
	switch {
	case taken && !i.Settling && ok:
		return fmt.Errorf("key change to %s: the key is taken", now)
	case taken && i.Settling:
		row = other
	case !ok && whole:
		row = make([]entraintest.Cell, len(i.Target.Table.Columns))
	case !ok:
		return nil
	}
	overlayCells(row, entraintest.Cells(i.Target.Table, i.Row))
	delete(rows, old)
	delete(rows, gone+now)
	rows[now] = row
	return nil
}

func overlayCells(row, newer []entraintest.Cell) {
	for c := range row {
		if newer[c] != entraintest.Unchanged {
			row[c] = newer[c]
		}
	}
}

// run executes the steps; a set is done in reverse where any order must do.
func (d database) run(u Unit, events []entrain.Event, lookup Lookup) error {
	for i := range u.Steps {
		if err := d.runStep(u.Mode, &u.Steps[i], events, lookup); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (d database) runStep(mode Mode, s *Step, events []entrain.Event, lookup Lookup) error {
	if s.Kind == Rows {
		for i := range s.Items {
			if err := d.apply(&s.Items[i], &events[s.Items[i].Event], lookup); err != nil {
				return err
			}
		}
		return nil
	}
	if err := checkSet(mode, s); err != nil {
		return err
	}
	order := make([]int, len(s.Items))
	for i := range order {
		order[i] = i
	}
	if mode == Grouped {
		slices.Reverse(order)
	}
	for _, i := range order {
		if err := d.apply(&s.Items[i], nil, lookup); err != nil {
			return err
		}
	}
	return nil
}

// errTwice is the violation of a unique key.
var errTwice = errors.New("twice in a set")

// checkSet holds a step to what its kind promises.
func checkSet(mode Mode, s *Step) error {
	op := map[Kind]Op{Inserts: Insert, Updates: Update, Deletes: Delete}[s.Kind]
	seen := map[string]bool{}
	for i := range s.Items {
		item := &s.Items[i]
		if item.Op != op || item.Target != s.Target {
			return fmt.Errorf("a %s of %s in a set of %d of %s", item.Op, item.Target.Table, s.Kind, s.Target.Table)
		}
		k := keyText(s.Target, item.identity())
		if seen[k] && mode == Grouped {
			return fmt.Errorf("key %s: %w", k, errTwice)
		}
		seen[k] = true
		if s.Kind == Updates && !sameColumns(s.Target, s.Items[0].Row, item.Row) {
			return fmt.Errorf("a set of updates carries different columns")
		}
		if s.Kind == Inserts && partial(s.Target, item.Row) {
			return fmt.Errorf("a set of inserts leaves a column out")
		}
	}
	return nil
}
