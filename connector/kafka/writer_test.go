package kafka

import (
	"context"
	"errors"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestWriteGivenUp: a write that is given up while another goroutine writes the
// definition of a table ends the session, and does not touch what that one uses (the
// race detector sees it).
func TestWriteGivenUp(t *testing.T) {
	w := &writer{turn: make(chan struct{}, 1)}
	w.turn <- struct{}{} // the other goroutine's
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	given := make(chan error, 1)
	go func() { given <- w.Write(gone, &entrain.Batch{}) }()
	if w.over != nil {
		t.Error("the session of the goroutine that has the turn was ended")
	}
	w.waiting = append(w.waiting, definition{done: make(chan error, 1)})
	waits := w.waiting[0].done
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("the write: %v", err)
	}
	w.leave()
	if err := w.Write(t.Context(), &entrain.Batch{}); !errors.Is(err, errClosed) {
		t.Errorf("the next write: %v", err)
	}
	if err := <-waits; !entrain.IsRetryable(err) {
		t.Errorf("a definition that waited: %v", err)
	}
}
