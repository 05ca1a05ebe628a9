package kafkaserver

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Version is the Kafka that this package runs.
const Version = "4.3.1"

// OldestJava is the oldest Java that runs it.
const OldestJava = 17

// list is kafka_2.13 of that version with its runtime dependencies, log4j-core
// and log4j-slf4j-impl, as Maven resolves them: checksum and path. It changes
// as a whole, together with Version.
//
//go:embed artifacts.txt
var list string

// parallel is how many downloads run at once.
const parallel = 4

// Install is what a broker is run with.
type Install struct {
	// Java runs it.
	Java throwaway.Java
	// Libs is the folder of its libraries.
	Libs string
}

// Obtain returns Java and the broker's libraries, after downloading these
// (44 MB) if they are not in the cache. What is downloaded is used only if its
// SHA-256 is the one in the source. Several processes may do it at once.
func Obtain(ctx context.Context) (Install, error) {
	java, err := throwaway.FindJava(ctx, OldestJava)
	if err != nil {
		return Install{}, fmt.Errorf("run Kafka %s: %w", Version, err)
	}
	libs, err := fetch(ctx)
	if err != nil {
		return Install{}, fmt.Errorf("fetch Kafka %s: %w", Version, err)
	}
	return Install{Java: java, Libs: libs}, nil
}

func fetch(ctx context.Context) (string, error) {
	cache, err := throwaway.CacheDir()
	if err != nil {
		return "", err
	}
	jars, err := throwaway.Artifacts(list)
	if err != nil {
		return "", err
	}
	libs := filepath.Join(cache, "kafka", Version)
	err = throwaway.FillOnce(libs, func(dir string) error {
		return downloadAll(ctx, jars, dir)
	})
	return libs, err
}

// downloadAll puts the artifacts into dir, several at once.
func downloadAll(ctx context.Context, all []throwaway.Artifact, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan throwaway.Artifact)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for a := range work {
				if err := download(ctx, a, dir); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, a := range all {
		work <- a
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// download puts the artifact into dir.
func download(ctx context.Context, a throwaway.Artifact, dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, path.Base(a.Path)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(a.Download(ctx, f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", a.URL(), err)
	}
	return nil
}
