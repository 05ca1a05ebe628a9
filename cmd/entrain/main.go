// Command entrain captures committed changes and applies them exactly once
// elsewhere. Standard output is data, standard error is talk.
package main

import (
	"context"
	"io"
	"os"
)

// world is what the program sees of its surroundings.
type world struct {
	args           []string
	env            func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	os.Exit(run(context.Background(), world{
		args: os.Args[1:], env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}))
}
