package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// OldestMajor is the oldest major version that any part of entrain supports.
const OldestMajor = 14

// newestMajor bounds the search for "any version".
const newestMajor = 29

// Install is a folder with the server programs of one PostgreSQL version.
type Install struct {
	// Bin is the folder that holds initdb and postgres.
	Bin string
	// Major is the major version, such as 15.
	Major int
	// Version is the whole version as the server names it: "15.18".
	Version string
}

// Path returns where the program is, or would be: not every install has every
// program (the fetched ones have no client programs).
func (i Install) Path(program string) string { return filepath.Join(i.Bin, program) }

// NotFoundError says that this machine has no server programs of a version. It
// names the places that were looked at and the commands that bring them.
type NotFoundError struct {
	// Major is the version looked for, 0 for any.
	Major int
	// Looked lists every place with what was wrong there.
	Looked []string
}

// Error lists the places and the way out.
func (e *NotFoundError) Error() string {
	what, pkg := fmt.Sprintf("PostgreSQL %d", e.Major), e.Major
	if e.Major == 0 {
		what, pkg = fmt.Sprintf("PostgreSQL %d or later", OldestMajor), defaultMajor
	}
	return fmt.Sprintf("no server programs of %s found; looked at: %s; next: `make postgres`, or `apt-get install postgresql-%d`, or set ENTRAIN_PG%d_BIN to the folder of initdb and postgres",
		what, strings.Join(e.Looked, "; "), pkg, pkg)
}

// defaultMajor is what advice names when any version would do.
const defaultMajor = 15

// Find returns server programs of the major version: from the folder in
// ENTRAIN_PG<major>_BIN, from PATH, from where packages usually put them, or
// from the cache that [Fetch] fills, in this order. Major 0 finds the highest
// version from [OldestMajor] on. It downloads nothing. The error is a
// *[NotFoundError], or ctx's.
func Find(ctx context.Context, major int) (Install, error) {
	majors := []int{major}
	if major == 0 {
		majors = nil
		for m := newestMajor; m >= OldestMajor; m-- {
			majors = append(majors, m)
		}
	}
	missing := &NotFoundError{Major: major}
	look := inspectOnce(ctx)
	for _, m := range majors {
		for _, bin := range candidates(m) {
			install, err := look(bin)
			if ctx.Err() != nil {
				return Install{}, ctx.Err()
			}
			if err == nil && install.Major == m {
				return install, nil
			}
			missing.add(bin, install, err)
		}
	}
	return Install{}, missing
}

// add notes once why the folder bin did not do. Folders that do not exist are
// worth a word only if one version is looked for: for "any" there are too many.
func (e *NotFoundError) add(bin string, found Install, err error) {
	line := bin + ": "
	switch {
	case errors.Is(err, os.ErrNotExist) && e.Major == 0:
		return
	case errors.Is(err, os.ErrNotExist):
		line += "not there"
	case err != nil:
		line += err.Error()
	default:
		line += "is version " + found.Version
	}
	if !slices.Contains(e.Looked, line) {
		e.Looked = append(e.Looked, line)
	}
}

// candidates lists the folders in which the programs may be, best first.
func candidates(major int) []string {
	var dirs []string
	if dir := os.Getenv(fmt.Sprintf("ENTRAIN_PG%d_BIN", major)); dir != "" {
		dirs = append(dirs, dir)
	}
	for _, program := range []string{"postgres", "pg_ctl"} {
		if path, err := exec.LookPath(program); err == nil {
			dirs = append(dirs, realFolder(path))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/%d/bin", "/usr/pgsql-%d/bin",
		"/opt/homebrew/opt/postgresql@%d/bin", "/usr/local/opt/postgresql@%d/bin",
		"/Applications/Postgres.app/Contents/Versions/%d/bin",
	} {
		dirs = append(dirs, fmt.Sprintf(pattern, major))
	}
	if dir, err := cachedBin(major); err == nil {
		dirs = append(dirs, dir)
	}
	return dirs
}

// realFolder returns the folder of a program behind symbolic links: the server
// finds its other files relative to it.
func realFolder(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Dir(path)
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// inspectOnce returns inspect with a memory: the folder in PATH is a candidate
// for every version.
func inspectOnce(ctx context.Context) func(bin string) (Install, error) {
	type answer struct {
		install Install
		err     error
	}
	known := map[string]answer{}
	return func(bin string) (Install, error) {
		a, ok := known[bin]
		if !ok {
			a.install, a.err = inspect(ctx, bin)
			known[bin] = a
		}
		return a.install, a.err
	}
}

// inspect asks the programs in bin for their version, as the user that the
// server will run as, so that unreachable folders show here.
func inspect(ctx context.Context, bin string) (Install, error) {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return Install{}, err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version")
	cmd.Dir = "/"
	throwaway.SetUser(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Install{}, fmt.Errorf("postgres --version: %w %s", err, strings.TrimSpace(string(out)))
	}
	m := versionText.FindStringSubmatch(string(out))
	if m == nil {
		return Install{}, fmt.Errorf("postgres --version says %q", strings.TrimSpace(string(out)))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return Install{}, fmt.Errorf("postgres --version says %q: %w", m[0], err)
	}
	return Install{Bin: bin, Major: major, Version: m[1]}, nil
}
