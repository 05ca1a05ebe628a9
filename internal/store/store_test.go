package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

func open(t *testing.T, dir, name string) *Store {
	t.Helper()
	s, err := Open(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t *testing.T, s *Store) pipeline.Checkpoint {
	t.Helper()
	c, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func save(t *testing.T, s *Store, c pipeline.Checkpoint) {
	t.Helper()
	if err := s.Save(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func checkpoint(n int) pipeline.Checkpoint {
	return pipeline.Checkpoint{
		Position: entrain.Position{Incarnation: "7/1/0/AB", Offset: fmt.Sprintf("0/%X@1", n)},
		Mark:     []byte(fmt.Sprintf(`{"size":%d}`, n)),
	}
}

// stopCode returns the code of the stop in err, "" if it has none.
func stopCode(err error) string {
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		return ""
	}
	if stop.What == "" || stop.Why == "" || stop.Next == "" {
		return "incomplete " + stop.Code
	}
	return stop.Code
}

// Others can neither read nor replace the state, whatever the umask.
func TestStateIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir, "shop")
	save(t, s, checkpoint(1))
	for name, want := range map[string]os.FileMode{
		dir: 0o700, s.Folder(): 0o700, s.path(): 0o600, filepath.Join(s.Folder(), lockName): 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

// What was saved is there after a new start, and nothing was before the first
// save.
func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	for n := range 50 {
		s := open(t, dir, "shop")
		want := pipeline.Checkpoint{}
		if n > 0 {
			want = checkpoint(n)
		}
		if diff := cmp.Diff(want, load(t, s)); diff != "" {
			t.Fatalf("start %d (-want +got):\n%s", n, diff)
		}
		save(t, s, checkpoint(n))
		save(t, s, checkpoint(n+1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("second close: %v", err)
		}
	}
}

func TestSecondOpenerIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "shop")
	_, err := Open(dir, "shop")
	if stopCode(err) != "state_locked" || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	if _, err := Hold(dir, "shop"); stopCode(err) != "state_locked" {
		t.Errorf("hold while open: %v", err)
	}
	open(t, dir, "other")
	save(t, s, checkpoint(1))
	s.Close()
	if got := load(t, open(t, dir, "shop")); got.Position != checkpoint(1).Position {
		t.Errorf("after the first closed: %+v", got)
	}
}

func TestCancelledContext(t *testing.T) {
	s := open(t, t.TempDir(), "shop")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Save(ctx, checkpoint(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("save: %v", err)
	}
	if _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("load: %v", err)
	}
}

func TestForeignStateIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "shop")
	save(t, s, checkpoint(1))
	s.Close()
	if err := os.Rename(Folder(dir, "shop"), Folder(dir, "store")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, "store")
	if stopCode(err) != "state_foreign" || !strings.Contains(err.Error(), `name: shop`) {
		t.Errorf("error = %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "shop")
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return put(tx.Bucket(bucketName), keyFormat, []byte("2"))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(dir, "shop"); stopCode(err) != "state_version" || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("error = %v", err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	h, err := Hold(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	remove(t, dir, "shop")
	open(t, dir, "shop").Close()
	h, err := Hold(dir, "shop")
	if err != nil || !h.Exists() || h.Folder() != Folder(dir, "shop") {
		t.Fatalf("held %+v, %v", h, err)
	}
	if _, err := Open(dir, "shop"); stopCode(err) != "state_locked" {
		t.Errorf("open while held: %v", err)
	}
	h.Close()
	remove(t, dir, "shop")
	if _, err := os.Stat(Folder(dir, "shop")); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	open(t, dir, "shop").Close()
	keep := filepath.Join(Folder(dir, "shop"), "notes.txt")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "shop")
	if _, err := os.Stat(keep); err != nil {
		t.Errorf("a file that is not ours was removed: %v", err)
	}
}

// A failed save names file and position and leaves the state as it was.
func TestFailedSave(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, "shop")
	save(t, s, checkpoint(1))
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	readOnly := func(path string, _ int, _ os.FileMode) (*os.File, error) { return os.Open(path) }
	db, err := bbolt.Open(s.path(), 0o600, &bbolt.Options{OpenFile: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	s.db = db
	err = s.Save(t.Context(), checkpoint(2))
	if err == nil || !strings.Contains(err.Error(), s.path()) || !strings.Contains(err.Error(), "0/2@1") || entrain.IsRetryable(err) {
		t.Errorf("error = %v", err)
	}
	if got := load(t, s); got.Position != checkpoint(1).Position {
		t.Errorf("after the failed save: %+v", got)
	}
	full := &os.PathError{Op: "write", Path: "state.db", Err: syscall.ENOSPC}
	if err := s.saveError(checkpoint(2), full); !entrain.IsRetryable(err) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk is not retryable: %v", err)
	}
}

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, "shop"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error = %v", err)
	}
}
