package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// writeBulk applies a batch in the open transaction, or in a new one, and
// commits if the batch ends one. The position is moved first, so that a
// session that has lost it writes nothing.
func (w *writer) writeBulk(ctx context.Context, b *entrain.Batch) error {
	if err := w.learn(ctx, b.Events); err != nil {
		return w.explain(ctx, err, b.Events)
	}
	if err := w.begin(ctx, b); err != nil {
		return w.explain(ctx, err, b.Events)
	}
	if err := w.applyGated(ctx, b); err != nil {
		return w.explain(ctx, err, b.Events)
	}
	w.tallyEvents(b.Events)
	if b.Through.IsZero() {
		return nil
	}
	return w.explain(ctx, w.commit(ctx, b), b.Events)
}

// begin opens the transaction unless it is open, and moves the position if it
// is known how far.
func (w *writer) begin(ctx context.Context, b *entrain.Batch) error {
	if w.inTx {
		w.moved = false
		return nil
	}
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	opening := []call{{sql: "BEGIN"}}
	if w.turn {
		opening = append(opening, w.turnCalls()...)
	}
	move := len(opening)
	opening = append(opening, w.moveCall(b.Through, b.Events))
	for _, c := range opening {
		f.add(c)
	}
	if len(w.catalog.late) > 0 {
		f.add(call{sql: "SET CONSTRAINTS ALL DEFERRED"})
	}
	at, err := f.land(func(call int, rows int64) error {
		if call == move {
			return hasMoved(rows)
		}
		return nil
	})
	w.exec.sent = f.sent
	if at == move && moveFailed(err) {
		if _, err := dial.QueryRows(ctx, w.conn, "ROLLBACK"); err != nil {
			return err
		}
		return w.stopFenced(ctx)
	}
	if dial.SQLState(err) == stateNoStatement {
		err = entrain.Retryable(err) // somebody between us dropped what was prepared
	}
	if err != nil {
		return fmt.Errorf("begin a transaction at the target: %w", err)
	}
	w.inTx, w.moved = true, !b.Through.IsZero()
	return nil
}

func (w *writer) commit(ctx context.Context, b *entrain.Batch) error {
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	if !w.moved {
		f.add(w.moveCall(b.Through, b.Events))
	}
	f.add(call{sql: "COMMIT"})
	_, err := f.land(ignoreRows)
	w.exec.sent = f.sent
	if err != nil {
		return fmt.Errorf("commit through %s: %w", b.Through, err)
	}
	if status := w.conn.TxStatus(); status != 'I' {
		return fmt.Errorf("commit through %s: the session is still in a transaction (%c)", b.Through, status)
	}
	w.committed(b.Through)
	return nil
}

// apply makes the batch's changes in the open transaction: as a whole if
// possible, else in smaller steps, and once more from the start if what the
// session knows of the tables turns out to be out of date.
func (w *writer) apply(ctx context.Context, b *entrain.Batch) error {
	err := w.applyAll(ctx, b)
	if !w.outdated(err) || w.final(err) {
		return err
	}
	w.forgetTables()
	if err := w.learn(ctx, b.Events); err != nil {
		return err
	}
	w.relearnt = true
	defer func() { w.relearnt = false }()
	return w.applyAll(ctx, b)
}

// maxCatalogAge is how long a change of the target's tables that causes no
// error (a new trigger, a new reference) may go unnoticed.
const maxCatalogAge = time.Minute

// learn makes sure that the tables of the events are known.
func (w *writer) learn(ctx context.Context, events []entrain.Event) error {
	old := w.catalog.graph != nil && time.Since(w.catalog.since) > maxCatalogAge
	if old || len(w.catalog.tables) > maxCachedTables {
		w.forgetTables()
	}
	return w.catalog.load(ctx, events)
}

func (w *writer) forgetTables() {
	w.catalog.reset()
	w.stmts.reset()
	clear(w.met)
}

func planWork(w *writer, events []entrain.Event) applyplan.Work {
	return applyplan.Work{Events: events, Lookup: w.catalog.target, Graph: w.catalog.graph, Order: w.order}
}

func (w *writer) applyAll(ctx context.Context, b *entrain.Batch) error {
	work := planWork(w, b.Events)
	units := w.planner.Plan(work)
	if len(units) == 0 && b.Through.IsZero() {
		return nil
	}
	d := descent{w: w, work: work, ends: !b.Through.IsZero()}
	all := func() error {
		for i := range units {
			if err := w.runSteps(ctx, b.Events, units[i].Steps); err != nil {
				return err
			}
		}
		return d.checkLate(ctx)
	}
	err := w.attempt(ctx, all)
	if free, fault := w.goFreely(ctx, b.Events, err); fault != nil {
		return fault
	} else if free {
		err = w.attempt(ctx, all)
	}
	if err == nil || w.final(err) || w.outdated(err) {
		return err
	}
	return d.units(ctx, units, err)
}

// attempt runs do under a savepoint: if it fails, it had no effect.
func (w *writer) attempt(ctx context.Context, do func() error) error {
	missing, at, free := w.pending.missing, w.pending.missingAt, w.free
	w.pending.missing, w.pending.missingAt = 0, nil
	if _, err := dial.QueryRows(ctx, w.conn, "SAVEPOINT attempt"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	err := do()
	if err == nil {
		for t, n := range at {
			w.pending.addMissing(t, n)
		}
		w.pending.missing += missing
		_, err = dial.QueryRows(ctx, w.conn, "RELEASE attempt")
		return err
	}
	w.pending.missing, w.pending.missingAt, w.free = missing, at, free
	if w.final(err) {
		return err
	}
	clear(w.pinned) // what was locked since the savepoint is not any more
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	f.add(call{sql: "ROLLBACK TO attempt"})
	f.add(call{sql: "RELEASE attempt"})
	_, rollback := f.land(ignoreRows)
	w.exec.sent = f.sent
	if rollback != nil {
		return errors.Join(rollback, err)
	}
	return err
}
