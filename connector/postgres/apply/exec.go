package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
)

const (
	// smallSet is up to how many rows a set is cheaper as single statements
	// in one round trip.
	smallSet = 8
	// flightItems is how many statements are on their way at most.
	flightItems = 512
	// flightBytes bounds the values of those.
	flightBytes = 4 << 20
	// setBytes bounds the parameters of a set statement.
	setBytes = 16 << 20
)

// itemError is the refusal of one item.
type itemError struct {
	item applyplan.Item
	err  error
}

func (e *itemError) Error() string { return e.err.Error() }
func (e *itemError) Unwrap() error { return e.err }

// errPartial says that a column that has to have a value has none.
var errPartial = errors.New("the source's log does not carry all columns of the row; " +
	"ALTER TABLE … REPLICA IDENTITY FULL at the source makes it carry them")

// errTooManyRows says that a key is not one at the target.
var errTooManyRows = errors.New("the key matches several rows at the target")

// executor runs steps in the session's transaction. It keeps buffers from one
// batch to the next.
type executor struct {
	copy   copyReader
	arrays arrays
	sent   []sentCall
	values [][]byte
	queue  []applyplan.Item // waits for a common round trip
}

// forget drops what aliases the batch.
func (x *executor) forget() {
	clear(x.queue)
	x.queue = x.queue[:0]
	clear(x.values[:cap(x.values)])
	x.arrays.forget()
}

// runSteps applies the steps in order.
func (w *writer) runSteps(ctx context.Context, events []entrain.Event, steps []applyplan.Step) error {
	x := &w.exec
	clear(x.queue)
	x.queue = x.queue[:0]
	for i := range steps {
		s := &steps[i]
		if w.singly(s) {
			if err := w.enqueue(ctx, events, s.Items); err != nil {
				return err
			}
			continue
		}
		if err := w.runQueue(ctx, events); err != nil {
			return err
		}
		if err := w.setFreely(ctx, w.allFreely(s.Items)); err != nil {
			return err
		}
		if err := w.runSet(ctx, s); err != nil {
			return fmt.Errorf("%d × %s of %s: %w", len(s.Items), s.Items[0].Op, s.Target.Table, err)
		}
	}
	if err := w.runQueue(ctx, events); err != nil {
		return err
	}
	return w.setFreely(ctx, false)
}

// enqueue lets items wait for a common round trip; one that changes a whole
// double, or how those after it are checked, ends the wait.
func (w *writer) enqueue(ctx context.Context, events []entrain.Event, items []applyplan.Item) error {
	x := &w.exec
	for i := range items {
		item := &items[i]
		double := item.Op == applyplan.Begin || item.Op == applyplan.Swap
		free := w.freely(item)
		if !double && free == w.free {
			x.queue = append(x.queue, *item)
			continue
		}
		if err := w.runQueue(ctx, events); err != nil {
			return err
		}
		if err := w.setFreely(ctx, free); err != nil {
			return err
		}
		if !double {
			x.queue = append(x.queue, *item)
		} else if err := w.runDouble(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// singly reports whether a step is best done as single statements: a small set,
// unless its rows may refer to each other.
func (w *writer) singly(s *applyplan.Step) bool {
	switch n := len(s.Items); {
	case s.Kind == applyplan.Rows || n <= 1:
		return true
	case n <= smallSet, n <= fewRows && s.Kind == applyplan.Inserts && settles(s.Items):
		return !w.catalog.table(s.Target.Table).own
	}
	return false
}

// runQueue applies the queued items one by one, many in a round trip.
func (w *writer) runQueue(ctx context.Context, events []entrain.Event) error {
	queue := w.exec.queue
	for len(queue) > 0 {
		f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
		n, refused := w.addItems(&f, events, queue)
		at, err := f.land(func(call int, rows int64) error { return w.gotRows(&queue[call], rows) })
		w.exec.sent = f.sent
		if err != nil && at < n {
			return &itemError{item: queue[at], err: err}
		}
		if err != nil {
			return err
		}
		if refused != nil {
			return &itemError{item: queue[n], err: refused}
		}
		queue = queue[n:]
	}
	clear(w.exec.queue)
	w.exec.queue = w.exec.queue[:0]
	return nil
}

// addItems sends as many items as one round trip takes and returns how many.
// An error is about the item after those.
func (w *writer) addItems(f *flight, events []entrain.Event, items []applyplan.Item) (int, error) {
	size := 0
	for i := range items {
		if i >= flightItems || size >= flightBytes {
			return i, nil
		}
		c, err := w.itemCall(events, &items[i])
		if err != nil {
			return i, err
		}
		f.add(c)
		size += len(items[i].Row) + len(items[i].Key)
	}
	return len(items), nil
}

// nothing is a statement for items that need none, so that answers and items
// go in step.
const nothing = "SELECT 1"

func (w *writer) itemCall(events []entrain.Event, item *applyplan.Item) (call, error) {
	if item.Op == applyplan.Truncate {
		return call{sql: truncateSQL(events[item.Event].Truncate, w.catalog.table)}, nil
	}
	t := w.catalog.table(item.Target.Table)
	if !t.permits(item) {
		return call{}, w.stopIdentityAlways(&events[item.Event], *item)
	}
	st := w.stmts.row(t, item)
	if st == nil {
		return call{sql: nothing}, nil
	}
	values := w.exec.values[:0]
	for _, p := range st.params {
		v, state := p.image.of(item).Column(p.column, len(t.columns))
		if state == entrain.Unchanged {
			return call{}, errPartial
		}
		if state == entrain.Present && v == nil {
			v = []byte{} // nil is NULL to the driver
		}
		values = append(values, v)
	}
	w.exec.values = values
	return call{st: st, values: values}, nil
}

// gotRows judges the number of rows that an item has hit.
func (w *writer) gotRows(item *applyplan.Item, rows int64) error {
	if item.Op == applyplan.Truncate || item.Op == applyplan.Insert {
		return nil
	}
	if rows > 1 {
		return errTooManyRows
	}
	if rows == 0 && !item.MayMiss {
		w.missing(item, 1)
	}
	return nil
}

// missing counts rows that the source changed and the target does not have.
func (w *writer) missing(item *applyplan.Item, rows int64) {
	w.pending.missing += rows
	w.pending.addMissing(item.Target.Table, rows)
}

// runSet applies a step by one statement or few.
func (w *writer) runSet(ctx context.Context, s *applyplan.Step) error {
	t := w.catalog.table(s.Target.Table)
	if s.Kind == applyplan.Inserts {
		return w.runInserts(ctx, t, s.Items)
	}
	st := w.setStatement(t, s)
	if st == nil {
		return nil
	}
	if err := w.runArrays(ctx, st, s.Items, missCounts); err != nil {
		return err
	}
	return w.runArrays(ctx, st, s.Items, missExpected)
}

func (w *writer) setStatement(t *targetTable, s *applyplan.Step) *statement {
	key := statementKey{table: t, form: "deletes"}
	if s.Kind == applyplan.Updates {
		key.form, key.shape = "updates", w.stmts.shapeOf(t, s.Items[0].Row)
	}
	return w.stmts.get(key, func() *statement {
		set := deleteSet(t)
		if s.Kind == applyplan.Updates {
			set = updateSet(t, s.Items[0].Row)
		}
		if set.sql == "" {
			return nil
		}
		oids := make([]uint32, len(set.columns))
		for i := range oids {
			oids[i] = oidTextArray
		}
		return &statement{sql: set.sql, params: set.columns, oids: oids}
	})
}

// runArrays runs a set statement for the items of one policy.
func (w *writer) runArrays(ctx context.Context, st *statement, items []applyplan.Item, policy missPolicy) error {
	x := &w.exec
	for len(items) > 0 {
		taken, seen := x.arrays.build(st.params, items, policy)
		if taken > 0 {
			f := takeOff(ctx, w.conn, w.stmts, x.sent)
			f.add(call{st: st, values: x.arrays.values, formats: x.arrays.formats})
			_, err := f.land(func(_ int, rows int64) error {
				if rows > int64(taken) {
					return errTooManyRows
				}
				if policy == missCounts && rows < int64(taken) {
					w.missing(&items[0], int64(taken)-rows)
				}
				return nil
			})
			x.sent = f.sent
			if err != nil {
				return err
			}
		}
		items = items[seen:]
	}
	return nil
}

func (w *writer) runCopy(ctx context.Context, t *targetTable, items []applyplan.Item) error {
	if err := w.pinTypes(ctx, t); err != nil {
		return err
	}
	sql := w.exec.copy.open(t, items)
	tag, err := w.conn.CopyFrom(ctx, &w.exec.copy, sql)
	if w.exec.copy.close() {
		return errNotCanonical
	}
	if err != nil {
		return guess(items, err)
	}
	return checkCopied(tag, int64(len(items)))
}

func checkCopied(tag pgconn.CommandTag, sent int64) error {
	if tag.RowsAffected() != sent {
		return fmt.Errorf("COPY stored %d of %d rows", tag.RowsAffected(), sent)
	}
	return nil
}

// permits reports whether the target can do it without side effects.
func (t *targetTable) permits(item *applyplan.Item) bool {
	return item.Op != applyplan.Rekey || t.always < 0 || !t.key[t.always] || !t.ActsOnDelete
}
