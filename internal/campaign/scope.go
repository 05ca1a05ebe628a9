package campaign

import (
	"fmt"
	"testing"
)

// scope is a part of a campaign that cleans up behind itself, and whose findings have
// its name in front.
type scope struct {
	testing.TB
	name     string
	cleanups []func()
}

// end does what was left for the end, the last first.
func (s *scope) end() {
	for len(s.cleanups) > 0 {
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		last()
	}
}

// Cleanup implements testing.TB.
func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

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
