package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Since version 4.0 of the brokers' transactions, a record that comes before the
// last transaction of its producer is marked everywhere waits at the broker, which
// looks again after 20 ms; the marks take about 2. So we ask for them and send the
// first record of a transaction when they are there.
const (
	// marksLate is after how long we do not ask any more: the brokers are slow then,
	// and know best when to go on.
	marksLate = 25 * time.Millisecond
	// gathering is how far apart the ends of transactions are, while more is written.
	gathering = 25 * time.Millisecond
	// marksEvery is the pause between two questions.
	marksEvery = 500 * time.Microsecond
)

// Gather implements [entrain.Gatherer]: records are sent at once, and a transaction is
// ended some milliseconds after the last one. Its end costs the brokers several
// records of their own, and each producer a stretch in which nothing can be written.
func (w *exactWriter) Gather() time.Duration { return gathering }

// commit ends the open transaction, with all that was written.
func (w *writer) commit(ctx context.Context) error {
	err := bounded(ctx, 2*patience, func(ctx context.Context) error { return w.client.EndTransaction(ctx, kgo.TryCommit) })
	if err == nil {
		w.open, w.committed = false, time.Now()
	}
	return err
}

// marked returns when the last transaction is marked, or when it is better not to
// wait for that. Errors are none: what comes next meets them, and brokers before 3.0
// cannot tell.
func (w *writer) marked(ctx context.Context) {
	// A question is not cut short, which would cost the connection to the coordinator.
	for late := w.committed.Add(marksLate); time.Now().Before(late); {
		all, err := w.admin.DescribeTransactions(ctx, w.transactionalID)
		now, there := all[w.transactionalID]
		marking := now.State == "PrepareCommit" || now.State == "PrepareAbort"
		if err != nil || !there || now.Err != nil || !marking || pause(ctx, marksEvery) != nil {
			return
		}
	}
}
