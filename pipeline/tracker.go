package pipeline

import (
	"fmt"

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
	at       entrain.Position                     // of durable
}

// noteRead counts a batch that came from the source.
func (t *tracker) noteRead(b *entrain.Batch) {
	t.read++
	t.events.read += int64(len(b.Events) + b.Filtered)
}

// noteWritten counts batches that the sink accepted with one write; they are
// durable if the write had a position.
func (t *tracker) noteWritten(batches uint64, b *entrain.Batch) error {
	if t.written+batches > t.read {
		return fmt.Errorf("%d batches written of %d read", t.written+batches, t.read)
	}
	t.written += batches
	t.open += int64(len(b.Events) + b.Filtered)
	t.filtered.open += int64(b.Filtered)
	if b.Through.IsZero() {
		return nil
	}
	t.durable = t.written
	t.events.durable += t.open
	t.filtered.durable += t.filtered.open
	t.open, t.filtered.open = 0, 0
	t.at = b.Through
	return nil
}

// noteAcked counts everything durable as confirmed to the source.
func (t *tracker) noteAcked() {
	t.acked = t.durable
	t.events.acked = t.events.durable
	t.filtered.acked = t.filtered.durable
}

// confirmed returns what became of the events that are confirmed to the source.
func (t *tracker) confirmed() settled {
	return settled{applied: t.events.acked - t.filtered.acked, filtered: t.filtered.acked}
}

// unconfirmed is the same for those that are durable and not yet confirmed.
func (t *tracker) unconfirmed() settled {
	all := settled{applied: t.events.durable - t.filtered.durable, filtered: t.filtered.durable}
	done := t.confirmed()
	return settled{applied: all.applied - done.applied, filtered: all.filtered - done.filtered}
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
