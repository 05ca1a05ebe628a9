package pipeline

import (
	"time"

	"github.com/entrainsync/entrain"
)

// waits is since when the changes wait that were read and are not durable at the
// sink. It is pure. Batches that came into being about at the same time share an
// entry, so that their number is bounded by how long the oldest waits.
type waits struct{ list []wait }

// wait is for the batches up to one: since is that of their oldest change.
type wait struct {
	through uint64
	since   time.Time
}

// waitsGrain is how far apart the changes of one entry may be: by so much the lag may
// be too large.
const waitsGrain = 50 * time.Millisecond

// read notes a batch by its number. A change waits from its commit on, by the source's
// clock; if that is ahead of ours, from when we had it.
func (w *waits) read(number uint64, b *entrain.Batch, now time.Time) {
	if len(b.Events) == 0 {
		return // nothing of it waits
	}
	since := now
	if tx := b.Events[0].Tx; tx != nil && !tx.CommitTime.IsZero() && tx.CommitTime.Before(now) {
		since = tx.CommitTime
	}
	if n := len(w.list); n > 0 && since.Sub(w.list[n-1].since) < waitsGrain {
		w.list[n-1] = wait{number, earlier(w.list[n-1].since, since)}
		return
	}
	w.list = append(w.list, wait{number, since})
}

// durable notes that the sink has the batches up to one.
func (w *waits) durable(through uint64) {
	n := 0
	for n < len(w.list) && w.list[n].through <= through {
		n++
	}
	if n > 0 {
		w.list = w.list[:copy(w.list, w.list[n:])]
	}
}

// oldest is since when the oldest change waits; zero if none does.
func (w *waits) oldest() time.Time {
	if len(w.list) == 0 {
		return time.Time{}
	}
	return w.list[0].since
}
