// Command entrain captures committed changes and applies them exactly once
// elsewhere. Standard output is data, standard error is talk.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"
	_ "time/tzdata" // schedules of classes name zones
)

// world is what the program sees of its surroundings.
type world struct {
	args           []string
	env            func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
}

// collectAt is the garbage collector's target while GOGC is not set. What a
// pipeline holds is buffers that it uses again; the little garbage beside them
// need not double its memory (P6).
const collectAt = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	os.Exit(run(context.Background(), world{
		args: os.Args[1:], env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}))
}
