package kafkaserver

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"

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
		return throwaway.DownloadAll(ctx, jars, dir)
	})
	return libs, err
}
