package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// programs makes a folder with programs that answer --version as told.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-bin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\necho '" + version + "'\n"
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindPrefersTheEnvironment(t *testing.T) {
	dir := programs(t, "postgres (PostgreSQL) 16.99 (test)")
	t.Setenv("ENTRAIN_PG16_BIN", dir)
	t.Setenv("PATH", programs(t, "postgres (PostgreSQL) 16.1")+":"+os.Getenv("PATH"))
	got, err := Find(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Install{Bin: dir, Major: 16, Version: "16.99"}); got != want {
		t.Errorf("Find(16) = %+v, want %+v", got, want)
	}
}

func TestFindLooksInPathBehindLinks(t *testing.T) {
	real, links := programs(t, "postgres (PostgreSQL) 29beta1"), t.TempDir()
	if err := os.Symlink(filepath.Join(real, "pg_ctl"), filepath.Join(links, "pg_ctl")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links+":/usr/bin:/bin")
	got, err := Find(t.Context(), 0) // 29 is the highest that Find(0) knows
	if err != nil {
		t.Fatal(err)
	}
	if want := (Install{Bin: real, Major: 29, Version: "29beta1"}); got != want {
		t.Errorf("Find(0) = %+v, want %+v", got, want)
	}
}

func TestNotFoundSaysWhereAndWhatNext(t *testing.T) {
	wrong := programs(t, "postgres (PostgreSQL) 17.1")
	t.Setenv("ENTRAIN_PG28_BIN", wrong)
	t.Setenv("PATH", programs(t, "who knows")+":/bin")
	_, err := Find(t.Context(), 28)
	var missing *NotFoundError
	if !errors.As(err, &missing) {
		t.Fatalf("Find(28): %v, want a *NotFoundError", err)
	}
	for _, want := range []string{
		wrong + ": is version 17.1", `says "who knows"`, "/usr/lib/postgresql/28/bin: not there",
		"make postgres", "apt-get install postgresql-28", "ENTRAIN_PG28_BIN",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}

func TestBrokenProgramsAreNotAnInstall(t *testing.T) {
	dir := programs(t, "postgres (PostgreSQL) 27.1")
	if err := os.WriteFile(filepath.Join(dir, "postgres"), []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ENTRAIN_PG27_BIN", dir)
	_, err := Find(t.Context(), 27)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Find(27) = %v, want the program's failure named", err)
	}
}

func TestCacheDirIsMovedByTheEnvironment(t *testing.T) {
	t.Setenv("ENTRAIN_CACHE", "some/where")
	got, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(got) || !strings.HasSuffix(got, filepath.Join("some", "where")) {
		t.Errorf("CacheDir() = %q, want an absolute path that ends in some/where", got)
	}
}
