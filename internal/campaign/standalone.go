package campaign

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// Log takes what a campaign says while it runs, a line at a time.
type Log func(line string)

// standalone is a test's handle for a campaign that runs outside of a test, so that
// the command and the tests of this package run the same code. A method of
// testing.TB that is not here would meet the nil in it.
type standalone struct {
	testing.TB
	name string
	log  Log
	ctx  context.Context
	end  context.CancelFunc

	mu       sync.Mutex
	cleanups []func()
	errors   []string
	skipped  string
}

func newStandalone(ctx context.Context, name string, log Log) *standalone {
	ctx, cancel := context.WithCancel(ctx)
	return &standalone{name: name, log: log, ctx: ctx, end: cancel}
}

// do runs a body as a test would: it may end by FailNow or Skip, and what it left for
// the end is done in any case.
func (s *standalone) do(body func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.cleanUp()
		defer s.catch()
		body()
	}()
	<-done
}

// catch makes a panic a failure.
func (s *standalone) catch() {
	if p := recover(); p != nil {
		s.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// cleanUp does what was left for the end, the last first.
func (s *standalone) cleanUp() {
	s.end()
	for {
		s.mu.Lock()
		if len(s.cleanups) == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[len(s.cleanups)-1]
		s.cleanups = s.cleanups[:len(s.cleanups)-1]
		s.mu.Unlock()
		done := make(chan struct{})
		go func() { // it may end by Fatal
			defer close(done)
			defer s.catch()
			last()
		}()
		<-done
	}
}

// Helper implements testing.TB.
func (s *standalone) Helper() {}

// Name implements testing.TB.
func (s *standalone) Name() string { return "Campaign/" + s.name }

// Context implements testing.TB.
func (s *standalone) Context() context.Context { return s.ctx }

// Cleanup implements testing.TB.
func (s *standalone) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// TempDir implements testing.TB. Of a campaign that has failed the folder stays.
func (s *standalone) TempDir() string {
	dir, err := os.MkdirTemp("", "entrain-campaign-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// Setenv implements testing.TB.
func (s *standalone) Setenv(key, value string) {
	before, set := os.LookupEnv(key)
	if err := os.Setenv(key, value); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if set {
			_ = os.Setenv(key, before)
		} else {
			_ = os.Unsetenv(key)
		}
	})
}

// Log implements testing.TB.
func (s *standalone) Log(args ...any) { s.log(strings.TrimSuffix(fmt.Sprintln(args...), "\n")) }

// Logf implements testing.TB.
func (s *standalone) Logf(format string, args ...any) { s.log(fmt.Sprintf(format, args...)) }

// Error implements testing.TB.
func (s *standalone) Error(args ...any) { s.fail(strings.TrimSuffix(fmt.Sprintln(args...), "\n")) }

// Errorf implements testing.TB.
func (s *standalone) Errorf(format string, args ...any) { s.fail(fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (s *standalone) Fatal(args ...any) {
	s.Error(args...)
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (s *standalone) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// Fail implements testing.TB.
func (s *standalone) Fail() { s.fail("failed") }

// FailNow implements testing.TB.
func (s *standalone) FailNow() {
	s.Fail()
	runtime.Goexit()
}

// Failed implements testing.TB.
func (s *standalone) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.errors) > 0
}

// Skip implements testing.TB.
func (s *standalone) Skip(args ...any) {
	s.skip(fmt.Sprint(args...))
	runtime.Goexit()
}

// Skipf implements testing.TB.
func (s *standalone) Skipf(format string, args ...any) {
	s.skip(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// Output implements testing.TB.
func (s *standalone) Output() io.Writer { return lineWriter(s.log) }

func (s *standalone) skip(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = why
}

func (s *standalone) fail(text string) {
	s.mu.Lock()
	s.errors = append(s.errors, text)
	s.mu.Unlock()
	s.log("FOUND: " + text)
}

// lineWriter writes to a log.
type lineWriter Log

// Write implements io.Writer.
func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w(strings.TrimSuffix(line, "\n"))
	}
	return len(p), nil
}

// since is a time as people read it.
func since(began time.Time) time.Duration { return time.Since(began).Round(time.Second) }
