package redisserver

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// fetched is the Redis that is fetched, oldest the least that is used if it is
// installed.
const (
	fetched = "7.0.15"
	oldest  = 7
)

// jar has static programs of that version, which the Signal project builds for
// embedding, for Linux and macOS.
var jar = throwaway.Artifact{
	Path:   "org/signal/embedded-redis/0.9.1/embedded-redis-0.9.1.jar",
	SHA256: "c01fe66ecf3b9d3161958e9a0e721aaf74ce98a909faca103fc8d09ff7617827",
}

// Install is a Redis server's program.
type Install struct {
	// Path of redis-server.
	Path string
	// Version as it names it: "7.0.15".
	Version string
}

// Obtain returns the redis-server in PATH if it is of version 7 or later, else
// that in the cache, after downloading it (11 MB) if it is not there. What is
// downloaded is used only if its SHA-256 is the one in the source. Several
// processes may do it at once.
func Obtain(ctx context.Context) (Install, error) {
	if path, err := exec.LookPath("redis-server"); err == nil {
		if install, err := inspect(ctx, path); err == nil {
			return install, nil
		}
	}
	path, err := fetch(ctx)
	if err != nil {
		return Install{}, fmt.Errorf("fetch Redis %s from %s: %w", fetched, jar.URL(), err)
	}
	return inspect(ctx, path)
}

var versionText = regexp.MustCompile(`v=((\d+)\.[.\d]+)`)

// inspect asks the program for its version, as the user that the server will
// run as, so that an unreachable folder shows here.
func inspect(ctx context.Context, path string) (Install, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Dir = "/"
	throwaway.SetUser(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Install{}, fmt.Errorf("%s --version: %w", path, err)
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return Install{}, fmt.Errorf("%s --version says %q", path, out)
	}
	if major, err := strconv.Atoi(string(m[2])); err != nil || major < oldest {
		return Install{}, fmt.Errorf("%s is Redis %s, older than %d", path, m[1], oldest)
	}
	return Install{Path: path, Version: string(m[1])}, nil
}

const program = "redis-server"

func fetch(ctx context.Context) (string, error) {
	cache, err := throwaway.CacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "redis", fetched)
	err = throwaway.FillOnce(folder, func(dir string) error {
		return jar.Temporary(ctx, func(f *os.File, size int64) error { return unpack(f, size, dir) })
	})
	return filepath.Join(folder, program), err
}

// unpack writes the program for this platform into dir.
func unpack(f io.ReaderAt, size int64, dir string) (err error) {
	archive, err := zip.NewReader(f, size)
	if err != nil {
		return fmt.Errorf("open the jar: %w", err)
	}
	member, err := archive.Open(fmt.Sprintf("redis-server-%s-%s-%s", fetched, runtime.GOOS, runtime.GOARCH))
	if err != nil {
		return fmt.Errorf("open the jar: %w", err)
	}
	defer member.Close()
	out, err := os.OpenFile(filepath.Join(dir, program), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, member)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}
