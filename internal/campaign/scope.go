package campaign

import (
	"context"
	"slices"
	"testing"
)

// scope is a part of a campaign that leaves nothing behind: what it left for the
// end is done when it is over.
type scope struct {
	testing.TB
	ctx      context.Context
	cleanups []func()
}

// within runs a part of a campaign.
func within(t testing.TB, body func(t testing.TB)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &scope{TB: t, ctx: ctx}
	defer func() {
		cancel()
		for _, end := range slices.Backward(s.cleanups) {
			end()
		}
	}()
	body(s)
}

// Cleanup implements testing.TB.
func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Context implements testing.TB.
func (s *scope) Context() context.Context { return s.ctx }
