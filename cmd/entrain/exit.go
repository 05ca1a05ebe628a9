package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/demo"
	"github.com/entrainsync/entrain/pipeline"
)

// The exit codes.
const (
	exitOK          = 0
	exitRuntime     = 1 // an event was refused, or a fault in the middle of work
	exitUsage       = 2 // a wrong command line or pipeline file
	exitEnvironment = 3 // cannot reach or may not; named stops
	exitDiffer      = 4 // the two sides of a comparison are not equal; findings of status error
	exitSignal      = 128
)

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// signalled ends the program at once, after a second signal or when a drain
// took too long.
type signalled struct {
	signal os.Signal
	reason string
}

func (e signalled) Error() string { return e.reason }

func (e signalled) code() int {
	if n, ok := e.signal.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitRuntime
}

// report prints the error and returns its exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprint(p.stderr, connector.MaskURLs(p.describe(err)))
	return exitCode(err)
}

func (p *program) describe(err error) string {
	var stop *entrain.Stop
	var unreachable *entrain.Unreachable
	switch {
	case errors.As(err, &stop):
		return describeStop(stop, p.place.get())
	case errors.As(err, &unreachable):
		return describeUnreachable(err, unreachable)
	}
	return "entrain: " + strings.ReplaceAll(ownLines(p.place.get().fillIn(err.Error())), "\n", "\n  ") + "\n" // no line but the first looks like ours
}

func exitCode(err error) int {
	var stop *entrain.Stop
	var placed *config.Error
	var usage usageError
	var mistake *pipeline.Mistake
	var signal signalled
	var unseen unexamined
	switch {
	case errors.As(err, &signal):
		return signal.code()
	case errors.As(err, &unseen):
		return exitEnvironment
	case errors.As(err, &stop) && stop.Data:
		return exitRuntime
	case errors.As(err, &stop):
		return exitEnvironment
	case errors.As(err, &placed), errors.As(err, &usage), errors.As(err, &mistake):
		return exitUsage
	case errors.Is(err, demo.ErrDiffer), errors.Is(err, errFindings), errors.Is(err, errDiffer), errors.Is(err, errContracts):
		return exitDiffer
	case entrain.IsRetryable(err), errors.Is(err, os.ErrPermission):
		return exitEnvironment
	}
	return exitRuntime
}
