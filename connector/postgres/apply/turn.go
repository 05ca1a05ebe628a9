package apply

import (
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const (
	// stateDeadlock is what the server ends the victim of a deadlock with.
	stateDeadlock = "40P01"
	// stateLockTimeout says that a lock did not come in time.
	stateLockTimeout = "55P03"
	// batchesInTurn is how many batches a pipeline applies in turn after a
	// deadlock: enough that the second that the server takes to find one is
	// lost now and then only, few enough that workers soon run side by side.
	batchesInTurn = 100
	// turnTimeout bounds the wait for a turn, which a process that is stopped
	// but not ended can hold.
	turnTimeout = "10s"
)

// turns makes sure that deliveries get on which keep meeting at the target:
// workers of several partitions whose rows have no key in common can still
// wait for each other there, by a trigger that counts or a second unique
// index, and the server ends one of them again and again. After a deadlock a
// worker applies some batches in turn, holding a lock of its pipeline; the
// next victims do so, too, until nobody is in another's way. It is safe for
// concurrent use.
type turns struct {
	left atomic.Int64
}

// met notes how a batch failed and reports whether batches are applied in turn
// from now on.
func (t *turns) met(err error) bool {
	var pgErr *pgconn.PgError
	switch {
	case !errors.As(err, &pgErr):
	case pgErr.Code == stateDeadlock:
		return t.left.Swap(batchesInTurn) <= 0
	case pgErr.Code == stateLockTimeout:
		t.left.Store(0) // whoever has the turn does not end
	}
	return false
}

// take reports whether the next batch is applied in turn.
func (t *turns) take() bool { return t.left.Load() > 0 && t.left.Add(-1) >= 0 }

// turnCalls wait for the pipeline's turn, which lasts until the transaction
// ends. They come first in it: who waits holds nothing.
func (w *writer) turnCalls() []call {
	lock := "SELECT pg_advisory_xact_lock(hashtextextended(" + sqltext.Literal("entrain turn "+w.cfg.Pipeline) + ", 0))"
	return []call{
		{sql: "SET LOCAL lock_timeout = '" + turnTimeout + "'"},
		{sql: lock},
		{sql: "SET LOCAL lock_timeout TO DEFAULT"},
	}
}

// noteDeadlock logs where sessions met, once a spell.
func (w *writer) noteDeadlock(err error) {
	if !w.turns.met(err) {
		return
	}
	var pgErr *pgconn.PgError
	errors.As(err, &pgErr)
	w.log.Warn("sessions wait for each other at the target; batches are applied in turn for a while",
		"where", pgErr.Where, "detail", pgErr.Detail, "batches", batchesInTurn)
}
