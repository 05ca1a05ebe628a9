package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// queue carries batches from the reading to the writing goroutine. It is
// bounded by bytes: put waits while it is full, except that one batch always
// fits (P6).
type queue struct {
	limit int

	mu      sync.Mutex
	batches []*entrain.Batch
	bytes   int
	closed  bool
	changed chan struct{} // closed and replaced at every change
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, changed: make(chan struct{})}
}

// put adds a batch, waiting for room. After close or the end of ctx the batch
// is freed and dropped: it was never acknowledged.
func (q *queue) put(ctx context.Context, b *entrain.Batch) error {
	for {
		q.mu.Lock()
		if q.closed || ctx.Err() != nil {
			q.mu.Unlock()
			free(b)
			return context.Canceled
		}
		if len(q.batches) == 0 || q.bytes+b.Bytes <= q.limit {
			q.batches = append(q.batches, b)
			q.bytes += b.Bytes
			q.signal()
			q.mu.Unlock()
			return nil
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// arrival is what ended a wait.
type arrival uint8

const (
	arrived arrival = iota // there is something to take
	ended                  // nothing will come any more: closed and empty, or ctx ended
	expired                // the time was up first
	asked                  // somebody asks for something
)

// wait blocks until there is something to take, nothing can come any more, the
// timer fires or somebody asks; a nil channel never does.
func (q *queue) wait(ctx context.Context, timer <-chan time.Time, asks <-chan ask) (arrival, ask) {
	for {
		select {
		case a := <-asks:
			return asked, a
		default:
		}
		q.mu.Lock()
		some, closed, changed := len(q.batches) > 0, q.closed, q.changed
		q.mu.Unlock()
		switch {
		case some:
			return arrived, ask{}
		case closed:
			return ended, ask{}
		}
		select {
		case <-changed:
		case <-timer:
			return expired, ask{}
		case a := <-asks:
			return asked, a
		case <-ctx.Done():
			return ended, ask{}
		}
	}
}

// take returns as many batches from the front as belong in one write of up to
// limit bytes, appended to into; none if there are none. A write consists of
// whole transactions, after the rest of one that was begun, or of a part of
// one; see [entrain.Batch].
func (q *queue) take(limit int, into []*entrain.Batch) []*entrain.Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := together(q.batches, limit)
	if n == 0 {
		return into
	}
	into = append(into, q.batches[:n]...)
	q.drop(n)
	q.signal()
	return into
}

// together returns how many batches from the front make one write.
func together(batches []*entrain.Batch, limit int) int {
	bytes := 0
	for i, b := range batches {
		whole := !b.Through.IsZero()
		if i > 0 && (bytes+b.Bytes > limit || !whole && !batches[i-1].Through.IsZero()) {
			return i
		}
		bytes += b.Bytes
	}
	return len(batches)
}

func (q *queue) drop(n int) {
	for i := range n {
		q.bytes -= q.batches[i].Bytes
	}
	rest := copy(q.batches, q.batches[n:])
	clear(q.batches[rest:])
	q.batches = q.batches[:rest]
}

// close lets nothing more in; what is inside can still be taken, except a part
// of a transaction whose end will not come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	last := len(q.batches)
	for last > 0 && q.batches[last-1].Through.IsZero() {
		last--
	}
	for _, b := range q.batches[last:] {
		q.bytes -= b.Bytes
		free(b)
	}
	q.batches = q.batches[:last]
	q.signal()
}

// held returns the bytes inside.
func (q *queue) held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *queue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func free(b *entrain.Batch) {
	if b.Free != nil {
		b.Free()
	}
}
