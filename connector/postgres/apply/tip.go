package apply

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// tipEvents is up to how many events a batch is applied in one round trip.
const tipEvents = 64

// writeTip applies a small batch of whole transactions in one round trip: the
// position first, then row by row, all one implicit transaction that the Sync
// commits. It reports false if the batch has to be applied another way, and
// then it had no effect.
func (w *writer) writeTip(ctx context.Context, b *entrain.Batch) (bool, error) {
	if err := w.learn(ctx, b.Events); err != nil {
		return false, w.explain(ctx, err, b.Events)
	}
	if !w.fitsTip(b.Events) {
		return false, nil
	}
	steps := w.planner.Rows(applyplan.Work{Events: b.Events, Lookup: w.catalog.target})
	var items []applyplan.Item
	if len(steps) > 0 {
		items = steps[0].Items
	}
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	f.add(w.moveCall(b.Through, b.Events))
	n, refused := w.addItems(&f, b.Events, items)
	if n < len(items) || refused != nil {
		return false, w.abandon(&f, refused)
	}
	odd := -1 // the first call that hit another number of rows than it should
	at, err := f.land(func(call int, rows int64) error {
		if odd < 0 && (call == 0 && hasMoved(rows) != nil || call > 0 && w.gotRows(&items[call-1], rows) != nil) {
			odd = call
		}
		return nil // what the server takes, the Sync commits
	})
	w.exec.sent = f.sent
	if err == nil {
		w.tallyEvents(b.Events)
		w.committed(b.Through)
		return true, w.judgeTip(ctx, b.Events, items, odd)
	}
	w.pending = tally{}
	if at == 0 && moveFailed(err) {
		return false, w.stopFenced(ctx)
	}
	if w.final(err) {
		return false, w.explain(ctx, err, b.Events)
	}
	return false, nil
}

// judgeTip returns the stop for a call that hit a wrong number of rows, which is
// known only when the batch is committed: it must not be applied again.
func (w *writer) judgeTip(ctx context.Context, events []entrain.Event, items []applyplan.Item, odd int) error {
	switch {
	case odd < 0:
		return nil
	case odd == 0:
		return w.stopFenced(ctx)
	}
	item := items[odd-1]
	return w.stopSeveralRows(&events[item.Event], item)
}

// fitsTip reports whether row statements alone are right for the tables: each
// must hit one row at most, and no constraint may have to wait for the end of
// the source transaction.
func (w *writer) fitsTip(events []entrain.Event) bool {
	for i := range events {
		e := &events[i]
		if ofDouble(e) {
			return false
		}
		if e.Table == nil || e.Op == entrain.OpReadEnd {
			continue
		}
		t := w.catalog.table(e.Table)
		if w.unchecked && e.Settling && t.letsGo() {
			return false
		}
		if t.deferrable || len(t.Key) > 0 && !t.unique {
			return false
		}
	}
	return true
}

// abandon ends a flight whose calls must have no effect: a call that fails
// rolls the implicit transaction back.
func (w *writer) abandon(f *flight, cause error) error {
	f.add(call{sql: "SELECT 1 / 0"})
	_, err := f.land(ignoreRows)
	w.exec.sent = f.sent
	var stop *entrain.Stop
	if errors.As(cause, &stop) {
		return cause
	}
	if w.final(err) {
		return err
	}
	return nil
}

// moveCall is the compare-and-set of the position row.
func (w *writer) moveCall(through entrain.Position, events []entrain.Event) call {
	newest := w.newest
	if n := len(events); n > 0 {
		newest = events[n-1].Tx.Version
	}
	version := strconv.FormatUint(newest, 10)
	if w.ahead.holds() {
		return w.ahead.moveCall(w, through, version)
	}
	st := w.stmts.get(statementKey{form: "move"}, func() *statement {
		return &statement{sql: moveSQL, oids: moveTypes}
	})
	return call{st: st, values: w.moveArgs(through, version)}
}

// tallyEvents counts a batch's events.
func (w *writer) tallyEvents(events []entrain.Event) {
	for i := range events {
		w.pending.ops[events[i].Op]++
	}
}

// final reports whether err ends the session, whatever the data: the
// connection is gone, the server asks for a retry, or it is a named stop.
func (w *writer) final(err error) bool {
	var stop *entrain.Stop
	if errors.As(err, &stop) || w.conn.IsClosed() {
		return true
	}
	var pgErr *pgconn.PgError
	var item *itemError
	var swap *swapError
	if errors.As(err, &swap) {
		return true
	}
	if !errors.As(err, &pgErr) {
		return !errors.As(err, &item) && !errors.Is(err, errTooManyRows) &&
			!errors.Is(err, errNotCanonical) && !errors.Is(err, errTypesChanged) && !errors.Is(err, errRowsLack)
	}
	return entrain.IsRetryable(dial.Classify(err)) || pgErr.Code == dial.StateNoPrivilege
}

// outdated reports whether err can mean that the target's tables are no longer
// as the session has learnt. Right after it has learnt them anew, it cannot.
func (w *writer) outdated(err error) bool {
	if w.relearnt {
		return false
	}
	if errors.Is(err, errNotCanonical) || errors.Is(err, errTypesChanged) {
		return true // the next attempt is in text, or goes by the new types
	}
	switch dial.SQLState(err) {
	case stateUndefinedTable, stateUndefinedColumn, stateUndefinedObject, stateUndefinedSchema,
		stateNotSupported, stateNoStatement, stateNoArbiter, stateInternal:
		return true
	case stateForeignKey: // one that came later has to be kept in the order of what is written
		return !w.catalog.knowsReference(err)
	}
	return strings.HasPrefix(dial.SQLState(err), "22") // data exception: a column may have another type by now
}
