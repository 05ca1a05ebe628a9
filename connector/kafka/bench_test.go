package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// transactionsOf makes a batch of n transactions of one row each.
func transactionsOf(n int) *entrain.Batch {
	b := batchOf(1)
	for i := range n {
		e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(i)), entraintest.Text("some name"),
			entraintest.Text("a body of some length, as they are"), entraintest.Text("19.90"))
		e.Tx = &entrain.Transaction{Stream: history, ID: uint64(i), Version: uint64(i + 1), CommitTime: time.Unix(1_790_000_000, 0)}
		b.Events = append(b.Events, e)
	}
	return b
}

// BenchmarkWrite writes batches of 10,000 one-row transactions; an operation is an
// event.
func BenchmarkWrite(b *testing.B) {
	w, _ := open(b, newTestSink(b, broker(b), unique(), nil))
	const each = 10_000
	batch := transactionsOf(each)
	write(b, w, batch)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += each {
		write(b, w, batch)
	}
}

// BenchmarkTip writes one transaction after the other, as at the log's end.
func BenchmarkTip(b *testing.B) {
	w, _ := open(b, newTestSink(b, broker(b), unique(), nil))
	batch := transactionsOf(1)
	write(b, w, batch)
	b.ResetTimer()
	for range b.N {
		write(b, w, batch)
	}
}
