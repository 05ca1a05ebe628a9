package campaign

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// scope is a part of a campaign that cleans up behind itself, and whose findings have
// its name in front.
type scope struct {
	testing.TB
	name   string
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	cleanups []func()
}

// newScope begins a part; its end must be called.
func newScope(t testing.TB, name string) *scope {
	ctx, cancel := context.WithCancel(t.Context())
	return &scope{TB: t, name: name, ctx: ctx, cancel: cancel}
}

// within runs a part of a campaign.
func within(t testing.TB, name string, body func(t testing.TB)) {
	t.Helper()
	s := newScope(t, name)
	defer s.end()
	body(s)
}

// end does what was left for the end, the last first.
func (s *scope) end() {
	s.cancel()
	for last := s.last(); last != nil; last = s.last() {
		done := make(chan struct{})
		go func() { // it may end by Fatal
			defer close(done)
			defer s.catch()
			last()
		}()
		<-done
	}
}

// catch makes a panic a failure: here nobody else would, and the process would end with
// its servers left behind.
func (s *scope) catch() {
	if p := recover(); p != nil {
		s.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// last takes what was left for the end last; nil if nothing is left.
func (s *scope) last() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.cleanups) - 1
	if n < 0 {
		return nil
	}
	f := s.cleanups[n]
	s.cleanups = slices.Delete(s.cleanups, n, n+1)
	return f
}

// Cleanup implements testing.TB.
func (s *scope) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// Context implements testing.TB.
func (s *scope) Context() context.Context { return s.ctx }

// Error implements testing.TB.
func (s *scope) Error(args ...any) {
	s.TB.Helper()
	s.TB.Errorf("%s: %s", s.name, fmt.Sprint(args...))
}

// Errorf implements testing.TB.
func (s *scope) Errorf(format string, args ...any) {
	s.TB.Helper()
	s.TB.Errorf("%s: %s", s.name, fmt.Sprintf(format, args...))
}

// Fatal implements testing.TB.
func (s *scope) Fatal(args ...any) {
	s.TB.Helper()
	s.TB.Fatalf("%s: %s", s.name, fmt.Sprint(args...))
}

// Fatalf implements testing.TB.
func (s *scope) Fatalf(format string, args ...any) {
	s.TB.Helper()
	s.TB.Fatalf("%s: %s", s.name, fmt.Sprintf(format, args...))
}
