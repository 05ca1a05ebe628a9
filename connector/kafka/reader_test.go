package kafka

import (
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRunOfALargeTransaction: what there is of a transaction whose end has not come
// is delivered as soon as it fills a batch, whatever the sizes of its records are
// (P6): a reader that waits for more would wait for ever with all of it in hand.
func TestRunOfALargeTransaction(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		r := &reader{}
		size := 0
		for size < batchBytes {
			rec := &kgo.Record{Value: make([]byte, 1+rng.IntN(1<<uint(8+rng.IntN(12)))), Headers: []kgo.RecordHeader{{Key: headerID, Value: []byte("s/i/7/1")}}}
			r.queue = append(r.queue, rec)
			size += len(rec.Value)
		}
		n, whole := r.run(0, batchBytes)
		if whole || n == 0 || n > len(r.queue) {
			t.Fatalf("%d of %d records, whole: %v", n, len(r.queue), whole)
		}
		if !r.full(n) {
			t.Fatalf("%d records of %d bytes are not delivered: run returned %d", len(r.queue), size, n)
		}
	}
}
