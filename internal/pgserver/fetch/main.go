// Command fetch makes sure that server programs of the given major versions of
// PostgreSQL are on this machine: it downloads what is not installed into the
// cache, and prints one line a version with the folder of the programs.
//
//	go run ./internal/pgserver/fetch 15 18
//	go run ./internal/pgserver/fetch any
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"github.com/entrainsync/entrain/internal/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, majors []string) error {
	for _, word := range majors {
		major, err := parseMajor(word)
		if err != nil {
			return err
		}
		install, err := pgserver.Obtain(ctx, major)
		if err != nil {
			return err
		}
		fmt.Printf("PostgreSQL %s\t%s\n", install.Version, install.Bin)
	}
	return nil
}

// parseMajor reads a major version; "any" is 0, which takes what there is.
func parseMajor(word string) (int, error) {
	if word == "any" {
		return 0, nil
	}
	major, err := strconv.Atoi(word)
	if err != nil || major < pgserver.OldestMajor {
		return 0, fmt.Errorf("%q is not a major version of PostgreSQL from %d on", word, pgserver.OldestMajor)
	}
	return major, nil
}
