package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Fetch returns server programs of the major version from the cache, after
// downloading them if they are not there. What is downloaded is used only if
// its SHA-256 is the one in the source; otherwise nothing is kept. Several
// processes may fetch the same version at once.
func Fetch(ctx context.Context, major int) (Install, error) {
	a, err := artifactFor(major)
	if err != nil {
		return Install{}, err
	}
	bin, err := cachedBin(major)
	if err != nil {
		return Install{}, err
	}
	err = throwaway.FillOnce(filepath.Dir(bin), func(dir string) error { return a.install(ctx, dir) })
	if err != nil {
		return Install{}, fmt.Errorf("fetch PostgreSQL %s from %s: %w", a.version, a.jar().URL(), err)
	}
	install, err := inspect(ctx, bin)
	if err != nil {
		return Install{}, fmt.Errorf("use the fetched PostgreSQL %s: %w", a.version, err)
	}
	return install, nil
}

// Obtain returns server programs of the major version by [Find], else by
// [Fetch]; its error names what both tried. Major 0 takes any version that is
// found, and fetches a supported one if there is none.
func Obtain(ctx context.Context, major int) (Install, error) {
	install, missing := Find(ctx, major)
	if missing == nil {
		return install, nil
	}
	if major == 0 {
		major = defaultMajor
	}
	install, err := Fetch(ctx, major)
	if err != nil {
		return Install{}, errors.Join(missing, err)
	}
	return install, nil
}

// install downloads the artifact and unpacks it into dir.
func (a artifact) install(ctx context.Context, dir string) error {
	return a.jar().Temporary(ctx, func(jar *os.File, size int64) error { return unpackJar(jar, size, dir) })
}
