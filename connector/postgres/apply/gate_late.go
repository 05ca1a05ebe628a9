package apply

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
)

// lateCalls are the statements of changes that are compared, which wait for a common
// round trip.
type lateCalls struct {
	calls []call
	items []applyplan.Item // one a call
	bytes int
}

// oneByOne applies changes in source order, each compared with its row's version in the
// statement that applies it. What has no version goes as without a gate.
func (g *gate) oneByOne(ctx context.Context, p part) error {
	w := g.w
	steps := w.stepper.Rows(planWork(w, p.events))
	var items []applyplan.Item
	if len(steps) > 0 {
		items = slices.Clone(steps[0].Items) // the stepper is used again
	}
	for i := 0; i < len(items); {
		n := i
		for n < len(items) && !p.compares(&p.events[items[n].Event]) {
			n++
		}
		if n > i {
			if err := g.ungated(ctx, p.events[items[i].Event:items[n-1].Event+1]); err != nil {
				return err
			}
			i = n
			continue
		}
		if err := g.compare(ctx, p, items[i]); err != nil {
			return err
		}
		i++
	}
	if err := g.fly(ctx, p.events); err != nil {
		return err
	}
	if p.through.IsZero() {
		return nil
	}
	return w.checkLate(ctx)
}

// compares reports whether an event is compared when it goes one by one. In order, those
// of tables whose rows are being copied may miss their rows, which are still to come.
func (p *part) compares(e *entrain.Event) bool {
	return versiongate.Gated(e) && (p.way == versiongate.Late || !e.Settling)
}

// ungated applies events that have no version.
func (g *gate) ungated(ctx context.Context, events []entrain.Event) error {
	if err := g.fly(ctx, events); err != nil {
		return err
	}
	return g.w.apply(ctx, &entrain.Batch{Events: events})
}

// compare adds the statements for one change.
func (g *gate) compare(ctx context.Context, p part, item applyplan.Item) error {
	e, v := &p.events[item.Event], p.versions[item.Event]
	if item.Op == applyplan.Truncate {
		if err := g.fly(ctx, p.events); err != nil {
			return err
		}
		return g.truncate(ctx, e, v)
	}
	l := change{g: g, e: e, v: v, t: g.w.catalog.table(e.Table)}
	if err := l.add(item); err != nil {
		return err
	}
	if len(g.calls.calls) >= flightItems || g.calls.bytes >= flightBytes {
		return g.fly(ctx, p.events)
	}
	return nil
}

// fly carries out what waits.
func (g *gate) fly(ctx context.Context, events []entrain.Event) error {
	l := &g.calls
	if len(l.calls) == 0 {
		return nil
	}
	w := g.w
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	for _, c := range l.calls {
		f.add(c)
	}
	at, err := f.land(func(call int, rows int64) error {
		g.countCall(&events[l.items[call].Event], &l.items[call], rows)
		return nil
	})
	w.exec.sent = f.sent
	if err != nil && at < len(l.items) {
		err = g.refused(events, l.items[at], err)
	}
	clear(l.calls)
	clear(l.items)
	l.calls, l.items, l.bytes = l.calls[:0], l.items[:0], 0
	return err
}

// countCall notes what became of a call. That of the old key, when a key changes, is
// not an event.
func (g *gate) countCall(e *entrain.Event, item *applyplan.Item, rows int64) {
	half := item.Op == applyplan.Delete && e.Op == entrain.OpUpdate
	switch {
	case !half:
		g.count(e.Op, rows)
	case rows == versiongate.Queued:
		g.w.pending.queued++
	}
}

// count notes what became of a change.
func (g *gate) count(op entrain.Op, rows int64) {
	t := &g.w.pending
	t.late++
	if rows == versiongate.Passed {
		return
	}
	t.ops[op]--
	if rows == versiongate.Queued {
		t.queued++
	}
}

// change is one change of a row that is compared.
type change struct {
	g *gate
	e *entrain.Event
	v versiongate.Version
	t *targetTable
}

// add decides how. A new key is a delete and an insert, each with its own compare; if
// the row is not whole, nobody knows what would be inserted.
func (c change) add(item applyplan.Item) error {
	t, n := c.t, len(c.t.columns)
	if item.Op == applyplan.Delete {
		return c.delete(item)
	}
	row, _ := versiongate.Fill(c.e.Before, c.e.After, n)
	item.Row = row
	whole := t.carries(row)
	if item.Op == applyplan.Rekey {
		if !whole {
			return c.park(item)
		}
		old := item
		old.Op = applyplan.Delete
		if err := c.leave(old); err != nil {
			return err
		}
	}
	if whole {
		return c.put(item)
	}
	if item.Op == applyplan.Insert {
		return c.g.refused([]entrain.Event{*c.e}, first(item), errPartial)
	}
	return c.patch(item)
}

// first is an item of the first of some events.
func first(item applyplan.Item) applyplan.Item {
	item.Event = 0
	return item
}

// carries reports whether the row has every column that the target takes.
func (t *targetTable) carries(row entrain.Row) bool {
	return !slices.ContainsFunc(t.all(), func(i int) bool { return row.State(i) == entrain.Unchanged })
}

// table is what the statements have to know.
func (c change) table() versiongate.Table {
	t := c.t
	return versiongate.Table{Name: t.sql, Only: t.only, Remove: t.soft.remove(), Live: t.soft.live(), Overriding: t.overriding(),
		Conflict: "(" + strings.Join(t.keyNames(), ", ") + ") " + t.onConflict(), Replay: c.g.w.pending.replay}
}

// value is column i.
func (t *targetTable) value(i int) versiongate.Value {
	return versiongate.Value{Column: t.columns[i].name, Equal: t.columns[i].equal}
}

func (t *targetTable) values(columns []int) []versiongate.Value {
	list := make([]versiongate.Value, len(columns))
	for i, c := range columns {
		list[i] = t.value(c)
	}
	return list
}

func (c change) put(item applyplan.Item) error {
	t := c.t
	columns := t.all()
	return c.send(item, statementKey{table: t, form: "gate put"}, func() string {
		table := c.table()
		return table.Put(t.values(columns))
	}, columns)
}

func (c change) patch(item applyplan.Item) error {
	t := c.t
	var set []int
	for i, col := range t.columns {
		if t.settable(i) && !col.always && item.Row.State(i) != entrain.Unchanged {
			set = append(set, i)
		}
	}
	key := statementKey{table: t, form: "gate patch", shape: t.shapeOf(item.Row)}
	return c.send(item, key, func() string {
		table := c.table()
		return table.Patch(t.values(t.Key), t.values(set))
	}, append(slices.Clone(t.Key), set...))
}

func (t *targetTable) shapeOf(row entrain.Row) string {
	return string(appendStates(nil, row, len(t.columns)))
}

// delete removes the row that the old image names.
func (c change) delete(item applyplan.Item) error {
	t := c.t
	item.Row = item.Key
	return c.send(item, statementKey{table: t, form: "gate delete"}, func() string {
		table := c.table()
		return table.Delete(t.values(t.Key))
	}, t.Key)
}

// leave removes the row with the old key, when a key changes, whatever a delete does:
// the row is not deleted.
func (c change) leave(item applyplan.Item) error {
	t := c.t
	item.Row = item.Key
	return c.send(item, statementKey{table: t, form: "gate leave"}, func() string {
		table := c.table()
		table.Remove = ""
		return table.Delete(t.values(t.Key))
	}, t.Key)
}

func (c change) park(item applyplan.Item) error {
	return c.send(item, statementKey{form: "gate park"}, func() string { return versiongate.Park("partial") }, nil)
}

// send adds a call whose values are the columns of the item's row.
func (c change) send(item applyplan.Item, key statementKey, sql func() string, columns []int) error {
	g, t, n := c.g, c.t, len(c.t.columns)
	if g.w.pending.replay {
		key.form += " again"
	}
	st := g.w.stmts.get(key, func() *statement {
		oids := append([]uint32(nil), versiongate.FixedTypes[:]...)
		for _, i := range columns {
			oids = append(oids, t.columns[i].oid)
		}
		return &statement{sql: sql(), oids: oids}
	})
	body, err := g.body.Append(nil, c.e)
	if err != nil {
		return fmt.Errorf("event %s: %w", c.e.ID(), err)
	}
	values := [][]byte{
		[]byte(relationText(t)), versiongate.AppendKey(nil, t.Key, n, item.Row, item.Key),
		strconv.AppendInt(nil, int64(c.v.Era), 10), strconv.AppendUint(nil, c.v.Number, 10), strconv.AppendUint(nil, c.v.Ordinal, 10),
		[]byte(g.family), []byte(t.Table.String()), []byte(c.e.Op.String()), c.e.AppendID(nil), body,
	}
	for _, i := range columns {
		v, state := item.Row.Column(i, n)
		if state == entrain.Unchanged { // of a key: the other image has it
			v, state = item.Key.Column(i, n)
		}
		if state == entrain.Present && v == nil {
			v = []byte{} // nil is NULL to the driver
		}
		values = append(values, v)
	}
	g.calls.calls = append(g.calls.calls, call{st: st, values: values})
	g.calls.items = append(g.calls.items, item)
	g.calls.bytes += len(body) + len(item.Row)
	return nil
}

// truncate empties tables late, if all that they have is older. Else it is in the queue,
// and nothing is emptied.
func (g *gate) truncate(ctx context.Context, e *entrain.Event, v versiongate.Version) error {
	w := g.w
	verdicts := map[string]int{}
	var late []*targetTable
	for _, table := range e.Truncate.Tables {
		t := w.catalog.table(table)
		row, err := dial.QueryRow(ctx, w.conn, versiongate.JudgeSQL, append([]string{g.family, table.String(), relationText(t)}, texts(v)...)...)
		if err != nil {
			return fmt.Errorf("compare a truncate of %s with its rows: %w", table, err)
		}
		verdicts[row[0]]++
		if row[0] != "done" {
			late = append(late, t)
		}
	}
	switch {
	case verdicts["late"] == 0 && verdicts["free"] > 0:
		g.count(e.Op, versiongate.Passed)
		if err := w.apply(ctx, &entrain.Batch{Events: []entrain.Event{*e}}); err != nil {
			return err
		}
		return g.emptied(ctx, e.Truncate.Tables, v)
	case len(late) == 0, w.pending.replay: // the latter had its effect when it came first
		g.count(e.Op, versiongate.Known)
		return nil
	}
	return g.parkTables(ctx, e, v, late)
}

// parkTables puts a truncate into the queue, once a table.
func (g *gate) parkTables(ctx context.Context, e *entrain.Event, v versiongate.Version, tables []*targetTable) error {
	g.count(e.Op, versiongate.Queued)
	body, err := g.body.Append(nil, e)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID(), err)
	}
	for _, t := range tables {
		args := append([]string{relationText(t), t.Table.String()}, texts(v)...)
		args = append(args, g.family, t.Table.String(), e.Op.String(), e.ID(), string(body))
		if err := g.run(ctx, versiongate.Park("stale"), args...); err != nil {
			return fmt.Errorf("queue the late event %s: %w", e.ID(), err)
		}
	}
	return nil
}
