package pipeline

import (
	"context"
	"errors"
	"sync"
)

// errCancelled ends a first copy that somebody has given up.
var errCancelled = errors.New("the copying of existing rows was cancelled")

// initialCopy lets people hold, resume and cancel the first copy of all tables,
// between two parts. The zero value is one that is not under way.
type initialCopy struct {
	mu      sync.Mutex
	running bool
	held    chan struct{}           // closed when it goes on; nil if it is not held
	cancel  context.CancelCauseFunc // of the copy under way
}

// begin says that the copy is under way until end is called, or its context ends.
func (c *initialCopy) begin(ctx context.Context) (copying context.Context, end func()) {
	copying, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.cancel = true, cancel
	return copying, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running, c.cancel = false, nil
		cancel(nil)
	}
}

func (c *initialCopy) runs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// isHeld reports whether no further part is begun.
func (c *initialCopy) isHeld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held != nil
}

// order holds, resumes or cancels.
func (c *initialCopy) order(do Verb) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch do {
	case OrderHold:
		if c.held == nil {
			c.held = make(chan struct{})
		}
	case OrderResume, OrderCancel:
		if c.held != nil {
			close(c.held)
			c.held = nil
		}
		if do == OrderCancel && c.cancel != nil {
			c.cancel(errCancelled)
		}
	}
}

// wait returns when the copy is not held.
func (c *initialCopy) wait(ctx context.Context) error {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
