package pipeline

import (
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// tracker follows batches through one session, by their sequence number. It is
// pure and owned by one goroutine. Always acked ≤ durable ≤ written ≤ read.
type tracker struct {
	read    uint64 // batches taken from the source
	written uint64 // accepted by the sink
	durable uint64 // through a batch with a position that the sink has durably
	acked   uint64 // confirmed to the source

	events   struct{ read, durable, acked int64 } // of these batches, filtered ones included
	open     int64                                // events written but not durable
	filtered struct{ open, durable, acked int64 } // those of the events that were filtered
	parked   struct{ open, durable, acked int64 } // and those that became dead letters
	at       entrain.Position                     // of durable
	waits    waits                                // of those that are not durable
}

// noteRead counts a batch that came from the source now.
func (t *tracker) noteRead(b *entrain.Batch, now time.Time) {
	t.read++
	t.waits.read(t.read, b, now)
	t.events.read += int64(len(b.Events) + b.Filtered)
}

// outs are the events of a write that the sink was not given: those that became dead
// letters, and those that it had already.
type outs struct{ parked, doubled int }

// noteWritten counts batches that the sink accepted with one write, but for the events
// that were taken out; they are durable if the write had a position.
func (t *tracker) noteWritten(batches uint64, b *entrain.Batch, out outs) error {
	if t.written+batches > t.read {
		return fmt.Errorf("%d batches written of %d read", t.written+batches, t.read)
	}
	t.written += batches
	t.open += int64(len(b.Events) + b.Filtered)
	t.filtered.open += int64(b.Filtered + out.doubled)
	t.parked.open += int64(out.parked)
	if b.Through.IsZero() {
		return nil
	}
	t.durable = t.written
	t.waits.durable(t.durable)
	t.events.durable += t.open
	t.filtered.durable += t.filtered.open
	t.parked.durable += t.parked.open
	t.open, t.filtered.open, t.parked.open = 0, 0, 0
	t.at = b.Through
	return nil
}

// noteAcked counts everything durable as confirmed to the source.
func (t *tracker) noteAcked() {
	t.acked = t.durable
	t.events.acked = t.events.durable
	t.filtered.acked = t.filtered.durable
	t.parked.acked = t.parked.durable
}

// confirmed returns what became of the events that are confirmed to the source.
func (t *tracker) confirmed() settled {
	return settledOf(t.events.acked, t.filtered.acked, t.parked.acked)
}

// unconfirmed is the same for those that are durable and not yet confirmed.
func (t *tracker) unconfirmed() settled {
	return settledOf(t.events.durable-t.events.acked, t.filtered.durable-t.filtered.acked, t.parked.durable-t.parked.acked)
}

func settledOf(events, filtered, parked int64) settled {
	return settled{applied: events - filtered - parked, filtered: filtered, parked: parked}
}

// valid returns the violated invariant, if any.
func (t *tracker) valid() error {
	if t.acked > t.durable || t.durable > t.written || t.written > t.read {
		return fmt.Errorf("acked %d ≤ durable %d ≤ written %d ≤ read %d does not hold",
			t.acked, t.durable, t.written, t.read)
	}
	e := t.events
	if e.acked > e.durable || e.durable+t.open > e.read || t.open < 0 {
		return fmt.Errorf("%d events acked, %d durable and %d open of %d read", e.acked, e.durable, t.open, e.read)
	}
	if f := t.filtered; f.acked > f.durable || f.durable > e.durable || f.open > t.open || f.acked > e.acked {
		return fmt.Errorf("%d filtered events acked, %d durable, %d open are more than there are", f.acked, f.durable, f.open)
	}
	return nil
}
