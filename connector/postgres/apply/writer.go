package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// writer is one session. Its invariants: no transaction is open unless
// inTx; pos is what the position row held when the last commit succeeded; once
// broken is set the connection is closed and nothing more is accepted.
type writer struct {
	cfg    Config
	conn   *pgconn.PgConn
	stop   context.Context // for the good-bye only, which has no caller's ctx
	server string
	log    *slog.Logger

	owner  string
	fence  string
	pos    entrain.Position
	seen   uint64 // the newest version that was ever applied; 0 once newer ones come
	opened bool   // Position was called and has succeeded
	inTx   bool   // fragments of a transaction are applied, not committed
	moved  bool   // the transaction has moved the position to its end
	broken error
	tried  tried
	newest uint64 // version of what was tried in the transaction; 0 for nothing

	lease *lease // of the sink, for loads
	turns *turns // of the sink, likewise
	turn  bool   // the batch is applied in turn

	gate  *gate // nil without
	ahead ahead // what is applied behind pos
	side  *side // the sessions beside this one; nil without

	catalog *catalog
	// relearnt is set while a batch is tried once more with fresh knowledge.
	relearnt bool
	// pinned are the tables whose types the transaction has locked.
	pinned map[*targetTable]bool
	// met counts, for tables whose rows met others, the sets until a plain COPY is
	// tried again.
	met map[*targetTable]int
	// unchecked: references of settling tables are not checked any more; free: the
	// session is in the role for that. free is false outside of runSteps.
	unchecked bool
	free      freedom

	stmts   *statements
	planner applyplan.Planner // of the batch
	stepper applyplan.Planner // of what has to be done again in smaller steps
	order   applyplan.Order   // that worked last
	exec    executor

	missed map[string]bool // tables whose missing rows were logged

	mu      sync.Mutex
	counts  map[string]int64 // guarded by mu
	pending tally            // of the transaction under way
}

// tally counts what a transaction did, until it is durable.
type tally struct {
	ops                [entrain.OpSchema + 1]int64
	missing, stepdowns int64
	late, queued       int64 // compared by the gate, and found too old to be applied
	missingAt          map[*entrain.Table]int64
	replay             bool // all of it: see [entrain.Batch]
}

// countNames are the names of the counts, by operation; what has none is not
// counted.
var countNames = [...]string{
	entrain.OpInsert: "inserted", entrain.OpUpdate: "updated", entrain.OpDelete: "deleted",
	entrain.OpTruncate: "truncated", entrain.OpMessage: "messages", entrain.OpRead: "read",
}

// Write applies a batch; see [entrain.Writer].
func (w *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if w.broken != nil {
		return fmt.Errorf("write after the session ended: %w", w.broken)
	}
	if !w.opened {
		return w.fail(fmt.Errorf("write before the position was taken over"))
	}
	if err := ctx.Err(); err != nil {
		return w.fail(err)
	}
	first := !w.inTx && !w.ahead.holds() // all before is durable
	if w.tried == triedRefused {
		if err := w.backToTried(ctx); err != nil {
			return w.fail(err)
		}
		w.tried = triedAccepted
	}
	w.pending.replay = b.Replay
	b = w.ahead.skip(b)
	w.meet(b)
	err := w.write(ctx, b)
	w.planner.Reset()
	w.stepper.Reset()
	w.exec.forget()
	if err == nil {
		return nil
	}
	if first && w.goesOn(err) && w.rollback(ctx) == nil {
		w.broken = fmt.Errorf("%w: %w", errRefused, err)
		return err
	}
	return w.fail(err)
}

func (w *writer) write(ctx context.Context, b *entrain.Batch) error {
	for i := range b.Events {
		if op := b.Events[i].Op; op < entrain.OpInsert || op > entrain.OpSchema {
			return fmt.Errorf("event %s: operation %s is not known to this sink", b.Events[i].ID(), op)
		}
	}
	if err := checkDoubles(b.Events); err != nil {
		return err
	}
	if b.Through.IsZero() && len(b.Events) == 0 {
		return nil
	}
	if slices.ContainsFunc(b.Events, changesShape) {
		return w.writeChanges(ctx, b)
	}
	if !w.inTx {
		w.turn = w.turns.take()
	}
	if w.side.fits(w, b) {
		var err error
		if b, err = w.writeAside(ctx, b); b == nil || err != nil {
			return err
		}
	}
	if w.gate == nil && !w.inTx && !w.turn && !b.Through.IsZero() && len(b.Events) <= tipEvents {
		done, err := w.writeTip(ctx, b)
		if done || err != nil {
			return err
		}
	}
	return w.writeBulk(ctx, b)
}

// fail ends the session: the server rolls back what was not committed.
func (w *writer) fail(err error) error {
	w.noteDeadlock(err)
	err = dial.Classify(err)
	w.broken = err
	w.disconnect()
	return err
}

// Close ends the session; see [entrain.Writer].
func (w *writer) Close() error {
	if w.broken == nil || errors.Is(w.broken, errRefused) {
		w.broken = fmt.Errorf("closed")
		w.disconnect()
	}
	return nil
}

func (w *writer) disconnect() {
	w.side.close()
	dial.Close(w.stop, w.conn)
}

// Counts returns what is durable; see [entrain.Counter].
func (w *writer) Counts() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// committed makes what was applied count.
func (w *writer) committed(through entrain.Position) {
	w.pos = through
	w.inTx, w.tried, w.newest = false, triedNothing, 0
	w.ahead.moved()
	clear(w.pinned)
	w.catalog.durable(w.log)
	w.count(through)
}

// count adds what is durable to the counts.
func (w *writer) count(through entrain.Position) {
	t := &w.pending
	w.logMissing(through)
	w.mu.Lock()
	defer w.mu.Unlock()
	for op := entrain.OpInsert; int(op) < len(countNames); op++ {
		w.counts[countNames[op]] += t.ops[op]
	}
	w.counts["missing"] += t.missing
	w.counts["stepdowns"] += t.stepdowns
	switch {
	case w.gate == nil:
	case t.replay:
		w.counts["requeued"] += t.queued
	default:
		w.counts["late"] += t.late
		w.counts["queued"] += t.queued
	}
	*t = tally{}
}

// logMissing says once a table that rows are missing at the target.
func (w *writer) logMissing(through entrain.Position) {
	for t, rows := range w.pending.missingAt {
		name := t.String()
		if w.missed[name] {
			continue
		}
		w.missed[name] = true
		w.log.Warn("rows that the source updated or deleted are missing at the target; further ones of the table are only counted",
			"table", name, "rows", rows, "position", through.String())
	}
}

// newOwner returns a random UUID (version 4).
func newOwner() string {
	var b [16]byte
	// rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
