package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// goesOn reports whether Rollback can take back a batch that failed with err: what was
// refused is events, and what the session knows is not ahead of what is durable. The
// versions of a gate and sessions side by side are.
func (w *writer) goesOn(err error) bool {
	var stop *entrain.Stop
	var batch *entrain.BatchError
	if errors.As(err, &stop) && !stop.Data || !errors.As(err, &batch) {
		return false
	}
	return w.gate == nil && w.side == nil && !w.conn.IsClosed()
}

// errRefused is why nothing may be written before Rollback is called.
var errRefused = errors.New("events were refused")

// rollback undoes what is not durable, so that the session could go on.
func (w *writer) rollback(ctx context.Context) error {
	if w.conn.TxStatus() != 'I' {
		if _, err := dial.QueryRows(ctx, w.conn, "ROLLBACK"); err != nil {
			return err
		}
	}
	w.inTx, w.moved, w.free, w.tried, w.newest = false, false, false, triedNothing, 0
	w.pending = tally{}
	clear(w.pinned)
	return nil
}

// Rollback lets the session go on after Write has refused a batch, and undone it; see
// [entrain.Sifter].
func (w *writer) Rollback(ctx context.Context) error {
	if !errors.Is(w.broken, errRefused) {
		return w.broken
	}
	w.broken = nil
	return ctx.Err()
}

// Try applies whole transactions in the open transaction; see [entrain.Sifter]. What
// was accepted so far is behind the savepoint "tried".
func (w *writer) Try(ctx context.Context, b *entrain.Batch) error {
	if w.broken != nil {
		return fmt.Errorf("try after the session ended: %w", w.broken)
	}
	err := w.tryAll(ctx, b)
	w.planner.Reset()
	w.stepper.Reset()
	w.exec.forget()
	if err == nil || w.goesOn(err) {
		return err
	}
	return w.fail(err)
}

func (w *writer) tryAll(ctx context.Context, b *entrain.Batch) error {
	if w.inTx {
		if err := w.backToTried(ctx); err != nil {
			return err
		}
	}
	if err := w.learn(ctx, b.Events); err != nil {
		return w.explain(ctx, err, b.Events)
	}
	if !w.inTx { // the position is moved to its end by the commit
		if err := w.begin(ctx, &entrain.Batch{Events: b.Events}); err != nil {
			return w.explain(ctx, err, b.Events)
		}
		if err := w.backToTried(ctx); err != nil {
			return err
		}
	}
	before, pinned := w.pending, maps.Clone(w.pinned)
	w.pending = tally{}
	err := w.tryOnce(ctx, b)
	if err == nil {
		w.tallyEvents(b.Events)
		w.pending.join(before)
		w.newest = b.Events[len(b.Events)-1].Tx.Version
		w.tried = triedAccepted
		return nil
	}
	w.tried = triedRefused
	w.pending = before
	w.pinned, w.free = pinned, false // what was locked since is not any more
	return w.explain(ctx, err, b.Events)
}

// tried is what became of what was tried last in the transaction. The savepoint of that
// name is behind what was accepted before; it is moved, or gone back to, when there is
// more to do, which saves a round trip.
type tried uint8

const (
	triedNothing tried = iota // there is no savepoint
	triedAccepted
	triedRefused
)

// backToTried makes the savepoint be where all is that is accepted, and the transaction
// be there.
func (w *writer) backToTried(ctx context.Context) error {
	var all []call
	switch w.tried {
	case triedNothing:
		all = []call{{sql: "SAVEPOINT tried"}}
	case triedAccepted:
		all = []call{{sql: "RELEASE tried"}, {sql: "SAVEPOINT tried"}}
	case triedRefused:
		all = []call{{sql: "ROLLBACK TO tried"}}
	}
	return w.calls(ctx, all...)
}

// tryOnce applies several transactions as one batch, and says where to look if that
// does not work; a single one it applies as Write would.
func (w *writer) tryOnce(ctx context.Context, b *entrain.Batch) error {
	d := descent{w: w, work: planWork(w, b.Events), ends: true}
	n := len(b.Events)
	if n == 1 {
		err := w.runSteps(ctx, b.Events, w.stepper.Rows(d.work))
		if err == nil {
			err = d.checkLate(ctx)
		}
		return w.judgeOne(ctx, b, err)
	}
	if sameTransaction(b.Events[0].Tx, b.Events[n-1].Tx) {
		return w.apply(ctx, b)
	}
	units := w.planner.Plan(d.work)
	var err error
	for i := 0; i < len(units) && err == nil; i++ {
		err = w.runSteps(ctx, b.Events, units[i].Steps)
	}
	if err == nil {
		err = d.checkLate(ctx)
	}
	if err == nil || w.final(err) {
		return err
	}
	return suspect(b.Events, err)
}

// judgeOne returns the stop for a single event that was refused, unless what the session
// knows of the table may be out of date: then it learns that anew and tries again.
func (w *writer) judgeOne(ctx context.Context, b *entrain.Batch, err error) error {
	if err == nil || w.final(err) {
		return err
	}
	if w.outdated(err) {
		if fault := w.calls(ctx, call{sql: "ROLLBACK TO tried"}); fault != nil {
			return errors.Join(fault, err)
		}
		return w.apply(ctx, b)
	}
	var item *itemError
	if errors.As(err, &item) {
		return w.stopRefused(&b.Events[item.item.Event], item.item, item.err)
	}
	return w.stopTransaction(&b.Events[0], err)
}

// suspect is the refusal of several transactions, of which err tells a little.
func suspect(events []entrain.Event, err error) error {
	batch := &entrain.BatchError{}
	var item *itemError
	var row *rowError
	at := int32(-1)
	if errors.As(err, &item) {
		at = item.item.Event
	} else if errors.As(err, &row) {
		at = row.event
	}
	if at >= 0 {
		e := &events[at]
		batch.Failed = []entrain.FailedEvent{{ID: e.ID(), Op: e.Op, Err: err}}
	}
	return batch
}

// calls runs statements without parameters in one round trip.
func (w *writer) calls(ctx context.Context, all ...call) error {
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	for _, c := range all {
		f.add(c)
	}
	_, err := f.land(ignoreRows)
	w.exec.sent = f.sent
	return err
}

// join adds what an earlier part of the transaction did.
func (t *tally) join(before tally) {
	for op := range t.ops {
		t.ops[op] += before.ops[op]
	}
	t.missing += before.missing
	t.stepdowns += before.stepdowns
	for table, n := range before.missingAt {
		t.addMissing(table, n)
	}
}

// rowError is the refusal of a set of rows, with a guess which one it was. The guess
// is good for nothing but speed.
type rowError struct {
	event int32
	error
}

func (e *rowError) Unwrap() error { return e.error }

// copiedLine is how the server says, in English, which line of a COPY it refuses.
var copiedLine = regexp.MustCompile(`(?m)^COPY .*, line (\d+)`)

// guess adds to the error of a COPY which row it is about.
func guess(items []applyplan.Item, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	m := copiedLine.FindStringSubmatch(refused.Where)
	if m == nil {
		return err
	}
	line, _ := strconv.Atoi(m[1]) // too large a number is no line
	if line < 1 || line > len(items) {
		return err
	}
	return &rowError{event: items[line-1].Event, error: err}
}
