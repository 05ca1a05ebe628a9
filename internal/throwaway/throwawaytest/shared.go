// Package throwawaytest is what the test helpers of private servers have in
// common: who may go without a server, how long things may take, and the one
// server that the tests of a process share.
package throwawaytest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// startTimeout bounds getting and starting a server, a first download
// included; stopTimeout bounds giving it up.
const (
	startTimeout = 5 * time.Minute
	stopTimeout  = time.Minute
)

// Server is what the helpers need of a private server.
type Server interface {
	comparable
	Log() string
	Remove(ctx context.Context) error
}

// Obtain returns what obtain has, the programs of a server. A test that cannot
// have them is skipped and names them; with ENTRAIN_TEST_WIDE=1 it fails.
func Obtain[I any](t testing.TB, name string, obtain func(context.Context) (I, error)) I {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	install, err := obtain(ctx)
	switch {
	case err == nil:
	case os.Getenv("ENTRAIN_TEST_WIDE") == "1":
		t.Fatal(err)
	default:
		t.Skipf("no %s: %v", name, err)
	}
	return install
}

// Own starts a server for this test alone and removes it at the test's end. If
// the test failed, the end of the server's log is in its output.
func Own[S Server](t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	srv := begin(t, start)
	t.Cleanup(func() {
		logIfFailed(t, srv)
		if err := srv.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove server: %v", err)
		}
	})
	return srv
}

// Shared is the server that all tests of a process share. The zero value has
// none yet. The methods may be called from several goroutines.
type Shared[S Server] struct {
	mu  sync.Mutex
	srv S // the zero value: none
}

// Get returns the server, after starting it if this is the first call.
func (s *Shared[S]) Get(t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var none S
	if s.srv == none {
		s.srv = begin(t, start)
	}
	srv := s.srv
	t.Cleanup(func() { logIfFailed(t, srv) })
	return srv
}

// Remove removes the server if there is one. It is for TestMain.
func (s *Shared[S]) Remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none S
	if s.srv == none {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.srv.Remove(ctx)
	s.srv = none
	return err
}

func begin[S Server](t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	srv, err := start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func logIfFailed[S Server](t testing.TB, srv S) {
	if t.Failed() {
		t.Logf("the server's log ends:\n%s", srv.Log())
	}
}
