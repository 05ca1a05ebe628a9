// Package window decides when the deliveries of a class of tables are due: by a
// schedule, or by how long and how much waits. It is pure: moments come in as values.
package window

import (
	"time"

	"github.com/entrainsync/entrain"
)

// Rules bound a small window: it ends with whichever is reached first. All are above
// zero.
type Rules struct {
	// Every is how long the first change waits.
	Every time.Duration
	// Rows is how many events wait.
	Rows int
	// Bytes is how much memory those have that wait.
	Bytes int
}

// Queue holds what waits for the end of a small window. Windows end where
// transactions do: a transaction of which a part was taken is passed on until its
// end, since it may be larger than memory. It is for one goroutine.
type Queue struct {
	rules Rules
	held  []*entrain.Batch
	whole int       // of held, those up to the last one with a position
	rows  int       // events in held
	bytes int       // of held
	since time.Time // when the first of held came
	open  bool      // a part was taken, its end has not come: held is empty
}

// NewQueue returns an empty queue.
func NewQueue(r Rules) *Queue { return &Queue{rules: r} }

// Add takes a batch over, as it comes in order. One without events only moves the
// position of the one before, if there is one.
func (q *Queue) Add(b *entrain.Batch, now time.Time) {
	if n := len(q.held); len(b.Events) == 0 && n > 0 && n == q.whole && !b.Through.IsZero() {
		q.held[n-1].Through = b.Through
		free(b)
		return
	}
	if len(q.held) == 0 {
		q.since = now
	}
	q.held = append(q.held, b)
	q.rows += len(b.Events)
	q.bytes += b.Bytes
	if !b.Through.IsZero() {
		q.whole = len(q.held)
	}
}

// Due returns when the window ends: the zero time for at once; false if nothing is
// there that has an end.
func (q *Queue) Due() (at time.Time, known bool) {
	switch {
	case len(q.held) == 0:
		return at, false
	case q.full() || q.open:
		return at, true
	}
	return q.since.Add(q.rules.Every), q.whole > 0
}

func (q *Queue) full() bool { return q.rows >= q.rules.Rows || q.bytes >= q.rules.Bytes }

// Take ends the window and returns its batches: all that end with a transaction; also
// the beginning of one that is not complete, if what waits is too much.
func (q *Queue) Take(now time.Time) []*entrain.Batch {
	n := q.whole
	if q.full() || q.open {
		n = len(q.held)
		q.open = n > q.whole
	}
	taken := q.held[:n:n]
	q.held, q.whole, q.rows, q.bytes, q.since = q.held[n:], 0, 0, 0, now
	for _, b := range q.held {
		q.rows += len(b.Events)
		q.bytes += b.Bytes
	}
	return taken
}

// Drop frees what waits.
func (q *Queue) Drop() {
	for _, b := range q.held {
		free(b)
	}
	*q = Queue{rules: q.rules}
}

func free(b *entrain.Batch) {
	if b.Free != nil {
		b.Free()
	}
}
