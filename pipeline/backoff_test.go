package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestBackoff proves P9's side that is about servers: waits grow, stay
// bounded, spread, and start over after progress.
func TestBackoff(t *testing.T) {
	lost := fmt.Errorf("read: %w", entrain.ErrDisconnected)
	for _, err := range []error{lost, errors.New("deadlock")} {
		most := unluckyMost
		if errors.Is(err, entrain.ErrDisconnected) {
			most = lostMost
		}
		var b backoff
		first := b.next(err, 0)
		before := first
		for range 100 {
			wait := b.next(err, 0)
			if wait < before || wait > most || wait <= 0 {
				t.Fatalf("%v: wait %s after %s, bound %s", err, wait, before, most)
			}
			before = wait
		}
		if b.next(err, 0.999) <= b.next(err, 0) {
			t.Errorf("%v: jitter does not spread", err)
		}
		if b.reset(); b.next(err, 0) != first {
			t.Errorf("%v: progress does not start over", err)
		}
	}
}
