package admin

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/entrainsync/entrain/pipeline"
)

func TestMain(m *testing.M) {
	// A server that has refused a request keeps its connection for half a second, so that
	// the answer is read.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

func listen(t *testing.T, folder string) *Server {
	t.Helper()
	s, err := Listen(folder, &fake{report: shopReport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// shopReport is what the fake process reports.
var shopReport = Report{
	Pipeline: "shop", PID: 42, Started: time.Unix(1, 0).UTC(),
	Status: pipeline.Status{Phase: "streaming", LagBytes: 7, Counts: map[string]int64{"inserted": 3}},
}

func folders(t *testing.T) map[string]string {
	t.Helper()
	short, err := os.MkdirTemp("/tmp", "entrain-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	long := filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 12))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"short": short, "long": long}
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// A process is asked, answers, and leaves nothing behind, however long the
// folder's name is.
func TestAsk(t *testing.T) {
	for what, folder := range folders(t) {
		t.Run(what, func(t *testing.T) {
			if _, err := Ask(t.Context(), folder); !errors.Is(err, ErrNotRunning) {
				t.Errorf("before: %v", err)
			}
			s := listen(t, folder)
			got, err := Ask(t.Context(), folder)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shopReport, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for range 2 {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := Ask(t.Context(), folder); !errors.Is(err, ErrNotRunning) {
				t.Errorf("after: %v", err)
			}
			if left := names(t, folder); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Only the owner may connect, whatever the umask and wherever the socket is.
func TestSocketIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for what, folder := range folders(t) {
		listen(t, folder)
		path := filepath.Join(folder, socketName)
		if note, err := os.ReadFile(filepath.Join(folder, addressName)); err == nil {
			path = strings.TrimSpace(string(note))
		}
		for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %s has mode %v, %v; want %v", what, name, info.Mode().Perm(), err, want)
			}
		}
	}
}

// What a killed process left is replaced, and removed by a teardown.
func TestStaleSocket(t *testing.T) {
	for what, folder := range folders(t) {
		t.Run(what, func(t *testing.T) {
			path, _, err := socketPath(folder)
			if err != nil {
				t.Fatal(err)
			}
			dead, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			dead.(*net.UnixListener).SetUnlinkOnClose(false)
			dead.Close()
			if _, err := Ask(t.Context(), folder); !errors.Is(err, ErrNotRunning) {
				t.Errorf("dead socket: %v", err)
			}
			s := listen(t, folder)
			if _, err := Ask(t.Context(), folder); err != nil {
				t.Error(err)
			}
			s.Close()
			if err := os.WriteFile(filepath.Join(folder, socketName), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := Remove(folder); err != nil || len(names(t, folder)) != 0 {
				t.Errorf("remove: %v, left %v", err, names(t, folder))
			}
		})
	}
}

// A process that hangs does not hang the one who asks.
func TestAskIsBounded(t *testing.T) {
	folder := folders(t)["short"]
	silent, err := net.Listen("unix", filepath.Join(folder, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, folder); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
