package apply

import (
	"context"
	"errors"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// descent applies a batch that the target did not take as a whole, in smaller
// and smaller steps: unit by unit; in a unit, source transaction by source
// transaction; in a transaction, row by row. What the last step refuses is the
// one bad event, and a named stop.
type descent struct {
	w    *writer
	work applyplan.Work
	// ends: the batch ends with the end of a source transaction.
	ends bool
}

// units applies each unit; cause is why all together failed.
func (d *descent) units(ctx context.Context, units []applyplan.Unit, cause error) error {
	for i := range units {
		u := &units[i]
		if len(units) > 1 {
			cause = d.tryUnit(ctx, u.Steps)
		}
		if cause != nil {
			cause = d.otherOrder(ctx, u, cause)
		}
		if cause != nil {
			cause = d.transactions(ctx, u, cause)
		}
		if cause != nil {
			return cause
		}
	}
	return nil
}

func (d *descent) tryUnit(ctx context.Context, steps []applyplan.Step) error {
	return d.w.attempt(ctx, func() error {
		if err := d.w.runSteps(ctx, d.work.Events, steps); err != nil {
			return err
		}
		return d.checkLate(ctx)
	})
}

// otherOrder tries the groups of a unit the other way round when a reference
// was in the way, and remembers what worked.
func (d *descent) otherOrder(ctx context.Context, u *applyplan.Unit, cause error) error {
	w := d.w
	if w.final(cause) || u.Mode != applyplan.Grouped || !u.Linked || dial.SQLState(cause) != stateForeignKey {
		return cause
	}
	work := d.work
	work.Order = applyplan.InsertsFirst
	if d.work.Order == applyplan.InsertsFirst {
		work.Order = applyplan.DeletesFirst
	}
	err := (&descent{w: w, work: work, ends: d.ends}).together(ctx, u.Events)
	if err == nil {
		w.order = work.Order
	}
	return err
}

// transactions applies the unit's part of each source transaction for itself, or of
// many together where they are taken: what is refused is found by halves.
func (d *descent) transactions(ctx context.Context, u *applyplan.Unit, cause error) error {
	w := d.w
	if w.final(cause) || w.outdated(cause) {
		return cause
	}
	w.pending.stepdowns++
	step := len(u.Events) / 2
	for rest := u.Events; len(rest) > 0; {
		n, single := d.reach(rest, step)
		var err error
		if single {
			err = d.transaction(ctx, u.Mode, rest[:n])
		} else {
			err = d.together(ctx, rest[:n])
		}
		switch {
		case err == nil:
			rest = rest[n:]
			step *= 2
		case single || w.final(err) || w.outdated(err):
			return err
		default:
			step = n / 2
		}
	}
	return nil
}

// reach returns how many of the picked events are the transactions that at least so
// many, but for the last, begin with, and whether that is one.
func (d *descent) reach(pick []int32, step int) (n int, single bool) {
	events := d.work.Events
	for n < len(pick) {
		end := n + 1
		for end < len(pick) && sameTransaction(events[pick[end]].Tx, events[pick[n]].Tx) {
			end++
		}
		if n > 0 && end > step {
			break
		}
		single = n == 0
		n = end
	}
	return n, single
}

// together applies several transactions as one.
func (d *descent) together(ctx context.Context, pick []int32) error {
	work := d.work
	work.Pick = pick
	var steps []applyplan.Step
	for _, part := range d.w.stepper.Plan(work) {
		steps = append(steps, part.Steps...)
	}
	return d.tryUnit(ctx, steps)
}

// transaction applies one source transaction: runs of one operation by one
// statement, as they may have been at the source, else row by row.
func (d *descent) transaction(ctx context.Context, mode applyplan.Mode, pick []int32) error {
	w := d.w
	work := d.work
	work.Pick = pick
	if mode == applyplan.Grouped && len(pick) > 1 {
		err := d.tryTransaction(ctx, w.stepper.Runs(work), pick)
		if err == nil || w.final(err) || w.outdated(err) {
			return err
		}
	}
	err := d.tryTransaction(ctx, w.stepper.Rows(work), pick)
	var refused *itemError
	switch {
	case err == nil || w.final(err) || w.outdated(err):
		return err
	case errors.As(err, &refused):
		return w.stopRefused(&work.Events[refused.item.Event], refused.item, refused.err)
	}
	return w.stopTransaction(&work.Events[pick[len(pick)-1]], err)
}

func (d *descent) tryTransaction(ctx context.Context, steps []applyplan.Step, pick []int32) error {
	return d.w.attempt(ctx, func() error {
		if err := d.w.runSteps(ctx, d.work.Events, steps); err != nil {
			return err
		}
		if !d.complete(pick) {
			return nil
		}
		return d.w.checkLate(ctx)
	})
}

// complete reports whether the batch holds the end of the transaction that the
// events are of: it ends with one, or goes on with a later transaction.
func (d *descent) complete(pick []int32) bool {
	last := &d.work.Events[len(d.work.Events)-1]
	return d.ends || !sameTransaction(d.work.Events[pick[0]].Tx, last.Tx)
}

// sameTransaction compares what identifies a source transaction: its parts may
// come with copies of the rest.
func sameTransaction(a, b *entrain.Transaction) bool {
	return a == b || a.Version == b.Version && *a.Stream == *b.Stream
}

// checkLate checks the constraints that wait for the end of a transaction, if
// this is one.
func (d *descent) checkLate(ctx context.Context) error {
	if !d.ends {
		return nil
	}
	return d.w.checkLate(ctx)
}

func (w *writer) checkLate(ctx context.Context) error {
	if len(w.catalog.late) == 0 {
		return nil
	}
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	f.add(call{sql: "SET CONSTRAINTS ALL IMMEDIATE"})
	f.add(call{sql: "SET CONSTRAINTS ALL DEFERRED"})
	_, err := f.land(ignoreRows)
	w.exec.sent = f.sent
	return err
}

func (t *tally) addMissing(table *entrain.Table, rows int64) {
	if t.missingAt == nil {
		t.missingAt = map[*entrain.Table]int64{}
	}
	t.missingAt[table] += rows
}
