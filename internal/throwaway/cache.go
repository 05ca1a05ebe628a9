package throwaway

import (
	"fmt"
	"os"
	"path/filepath"
)

// rootCache is where root keeps what it fetched: the home folder of root
// cannot be reached by the unprivileged user that runs the servers.
const rootCache = "/var/cache/entrain"

// CacheDir returns the folder that keeps fetched programs and prepared data
// folders between runs: ENTRAIN_CACHE, or entrain in the user's cache folder
// (for root in /var/cache). It need not exist yet, and may be deleted whenever
// no server is being started.
func CacheDir() (string, error) {
	if dir := os.Getenv("ENTRAIN_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return rootCache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the cache (set ENTRAIN_CACHE): %w", err)
	}
	return filepath.Join(dir, "entrain"), nil
}

// FillOnce makes the folder target by fill, which writes into a temporary
// folder beside it. Nobody sees a half filled target, and of several processes
// that do the same work the first one to finish wins.
func FillOnce(target string, fill func(dir string) error) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	parent := filepath.Dir(target)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make the cache (ENTRAIN_CACHE moves it): %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return fmt.Errorf("make the cache (ENTRAIN_CACHE moves it): %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, target); err != nil {
		if _, gone := os.Stat(target); gone != nil {
			return err
		}
	}
	return nil
}
