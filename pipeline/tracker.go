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

	events struct{ read, durable, acked int64 } // of these batches
	open   int64                                // events written but not durable
	at     entrain.Position                     // of durable
}

// noteRead counts a batch that came from the source.
func (t *tracker) noteRead(b *entrain.Batch) {
	t.read++
	t.events.read += int64(len(b.Events))
}

// noteWritten counts batches that the sink accepted with one write; they are
// durable if the write had a position.
func (t *tracker) noteWritten(batches uint64, b *entrain.Batch) error {
	if t.written+batches > t.read {
		return fmt.Errorf("%d batches written of %d read", t.written+batches, t.read)
	}
	t.written += batches
	t.open += int64(len(b.Events))
	if b.Through.IsZero() {
		return nil
	}
	t.durable = t.written
	t.events.durable += t.open
	t.open = 0
	t.at = b.Through
	return nil
}

// noteAcked counts everything durable as confirmed to the source.
func (t *tracker) noteAcked() {
	t.acked = t.durable
	t.events.acked = t.events.durable
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
	return nil
}
