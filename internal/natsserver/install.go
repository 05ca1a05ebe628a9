package natsserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Version is the one that is built.
const Version = "2.11.17"

// Install is a NATS server's program.
type Install struct {
	// Path of nats-server.
	Path string
}

const program = "nats-server"

// Cached returns the program if it was built before.
func Cached() (Install, bool) {
	folder, err := folder()
	if err != nil {
		return Install{}, false
	}
	path := filepath.Join(folder, program)
	_, err = os.Stat(path)
	return Install{path}, err == nil
}

func folder() (string, error) {
	cache, err := throwaway.CacheDir()
	return filepath.Join(cache, "nats", Version), err
}

// Obtain returns the program in the cache, after building it if it is not there,
// which takes the go command about a minute. Several processes may do it at once.
func Obtain(ctx context.Context) (Install, error) {
	folder, err := folder()
	if err != nil {
		return Install{}, err
	}
	err = throwaway.FillOnce(folder, func(dir string) error {
		cmd := exec.CommandContext(ctx, "go", "install", "github.com/nats-io/nats-server/v2@v"+Version)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build NATS server %s: %w: %s", Version, err, out)
		}
		return nil
	})
	return Install{filepath.Join(folder, program)}, err
}
