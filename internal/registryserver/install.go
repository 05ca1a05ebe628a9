package registryserver

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Version is the Apicurio Registry that this package runs: the last one for
// Java 17 is of the series 3.0.
const Version = "3.0.9"

// OldestJava is the oldest Java that runs it.
const OldestJava = 17

// runner is the program inside the archive.
const runner = "apicurio-registry-app-" + Version + "-runner.jar"

var archive = throwaway.Artifact{
	Path:   "io/apicurio/apicurio-registry-app/" + Version + "/apicurio-registry-app-" + Version + "-all.tar.gz",
	SHA256: "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43",
}

// Install is what a registry is run with.
type Install struct {
	// Java runs it.
	Java throwaway.Java
	// Dir is the folder of its program and libraries.
	Dir string
}

// Obtain returns Java and the registry's libraries, after downloading these
// (109 MB) if they are not in the cache. What is downloaded is used only if its
// SHA-256 is the one in the source. Several processes may do it at once.
func Obtain(ctx context.Context) (Install, error) {
	java, err := throwaway.FindJava(ctx, OldestJava)
	if err != nil {
		return Install{}, fmt.Errorf("run Apicurio Registry %s: %w", Version, err)
	}
	cache, err := throwaway.CacheDir()
	if err != nil {
		return Install{}, err
	}
	folder := filepath.Join(cache, "apicurio", Version)
	err = throwaway.FillOnce(folder, func(dir string) error {
		return archive.Temporary(ctx, func(f *os.File, _ int64) error { return unpack(f, dir) })
	})
	if err != nil {
		return Install{}, fmt.Errorf("fetch Apicurio Registry %s from %s: %w", Version, archive.URL(), err)
	}
	return Install{Java: java, Dir: folder}, nil
}

// unpack writes the files of the archive into dir.
func unpack(f *os.File, dir string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	plain, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	for members := tar.NewReader(plain); ; {
		m, err := members.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if m.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(m.Name) {
			return fmt.Errorf("the archive has the file %q", m.Name)
		}
		if err := write(filepath.Join(dir, m.Name), members); err != nil {
			return err
		}
	}
}

func write(path string, from io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}
