package entraintest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// recorder is a test that may fail without failing the test around it.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// stopped is what Fatalf panics with, to end the case.
type stopped struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// observe runs a case and returns how it failed.
func observe(t *testing.T, run func(t testing.TB)) []string {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		for _, f := range slices.Backward(r.cleanups) {
			f()
		}
	}()
	func() {
		defer r.recovered()
		run(r)
	}()
	return r.failures
}

// recovered takes a planted bug that panics in the suite for a failure, too.
func (r *recorder) recovered() {
	p := recover()
	if _, fatal := p.(stopped); p != nil && !fatal {
		r.Errorf("panic: %v", p)
	}
}

// verdicts holds the cases that each mutant failed, by the case's name.
type verdicts map[string][]string

// judge demands that a mutant fails the cases named for it.
func judge(t *testing.T, failed verdicts, expected string) {
	t.Helper()
	for _, name := range strings.Fields(expected) {
		if len(failed[name]) == 0 {
			t.Errorf("case %s passed; failed: %v", name, slices.Sorted(maps.Keys(failed)))
		}
	}
	for name, failures := range failed {
		t.Logf("%s: %.300s", name, failures[0])
	}
}
