package packed_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance: a packed log keeps the contracts of a stream (P1 to P6), with
// messages of several sizes.
func TestConformance(t *testing.T) {
	for name, size := range map[string]int{"small": 4 << 10, "large": 512 << 10} {
		t.Run(name, func(t *testing.T) { entraintest.TestStream(t, harness(size, func(*packed.Sequence) {})) })
	}
}

func harness(size int, change func(s *packed.Sequence)) entraintest.StreamHarness {
	var store *packed.Memory
	return entraintest.StreamHarness{
		New: func(testing.TB) { store = &packed.Memory{} },
		Log: func(t testing.TB, c entraintest.StreamConfig) stream.Log {
			if store.MaxBytes != c.MaxBytes { // set by the first one, before it is used
				store.MaxBytes = c.MaxBytes
			}
			l, err := packed.New(packed.Config{Backend: backend{store, change}, Producer: c.Producer, MaxBytes: c.MaxBytes,
				MessageBytes: size, Every: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if c.Cursors != nil {
				l.Cursors(c.Cursors)
			}
			return l
		},
		Parts:      true,
		Remake:     func(testing.TB) { store.Reset() },
		LoseAnswer: func(testing.TB) { store.LoseAnswer(entrain.Retryable(errors.New("the answer was lost"))) },
		Quota:      4 << 20,
		Quiet:      100 * time.Millisecond,
	}
}
