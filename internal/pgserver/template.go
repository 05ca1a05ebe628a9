package pgserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// initdbArgs make every cluster the same whatever the machine's locale.
var initdbArgs = []string{"-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"}

// template returns a folder with a fresh data folder called data in it, made
// once per install and kept in the cache: initdb takes seconds, a copy does
// not.
func template(ctx context.Context, install Install) (string, error) {
	cache, err := throwaway.CacheDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(install.Bin + "\n" + install.Version + "\n" + strings.Join(initdbArgs, " ")))
	dir := filepath.Join(cache, "template", install.Version+"-"+hex.EncodeToString(key[:6]))
	err = throwaway.FillOnce(dir, func(tmp string) error { return initdb(ctx, install, tmp) })
	if err != nil {
		return "", fmt.Errorf("prepare a data folder of PostgreSQL %s: %w", install.Version, err)
	}
	return dir, nil
}

func initdb(ctx context.Context, install Install, dir string) error {
	if err := throwaway.GiveAway(dir); err != nil {
		return err
	}
	args := append([]string{"-D", filepath.Join(dir, "data")}, initdbArgs...)
	cmd := exec.CommandContext(ctx, install.Path("initdb"), args...)
	cmd.Dir, cmd.Env = dir, throwaway.Environment(dir)
	throwaway.SetUser(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newCluster copies the template to data and gives the copy a system
// identifier of its own: two servers with one identifier would pass for the
// same server wherever a history is checked (P5).
func newCluster(ctx context.Context, install Install, data string) error {
	from, err := template(ctx, install)
	if err != nil {
		return err
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(from, "data"))); err != nil {
		return fmt.Errorf("copy the prepared data folder: %w", err)
	}
	if err := restrict(data); err != nil {
		return err
	}
	if err := setSystemID(data, newSystemID()); err != nil {
		return fmt.Errorf("give the data folder an identity of its own: %w", err)
	}
	return nil
}

// restrict takes the group's and the world's access from a data folder, which
// the server insists on.
func restrict(data string) error { return os.Chmod(data, 0o700) }
