package simulation

import (
	"fmt"
	"io"
)

// Config says what to run.
type Config struct {
	// Seed makes all choices. The same seed is the same run.
	Seed uint64
	// Steps is about how many steps are taken; the last ones, in which faults have ended
	// and all is delivered, come on top.
	Steps int
	// Plant is the bug that the simulated ends have; the default is none.
	Plant Plant
	// Trace, if not nil, gets a line a step.
	Trace io.Writer
}

// Report is what a run has shown.
type Report struct {
	Seed  uint64
	Plant Plant
	// Shape says which ends were joined how, for people.
	Shape string
	// Steps that were taken, Events that the source committed, Faults that operations
	// met and Crashes of the process.
	Steps, Events, Faults, Crashes int
	// Hash over all steps: two runs with the same one took the same course.
	Hash uint64
	// Violation is the first promise that was broken, nil if all were kept.
	Violation *Violation
	// Last are the last steps, a line each, if there was a violation.
	Last []string
}

// Violation is a promise that was broken.
type Violation struct {
	// Promise is its number, as in the documentation of package entrain.
	Promise string
	// What happened, for people.
	What string
	// Step at which it showed.
	Step int
}

// String is one line.
func (v *Violation) String() string {
	return fmt.Sprintf("%s broken at step %d: %s", v.Promise, v.Step, v.What)
}

// String says how the run went, in one line; with a violation also how it can be had
// again.
func (r Report) String() string {
	text := fmt.Sprintf("seed %d (%s): %d steps, %d events, %d faults, %d crashes, trace %016x",
		r.Seed, r.Shape, r.Steps, r.Events, r.Faults, r.Crashes, r.Hash)
	if r.Violation == nil {
		return text
	}
	env := fmt.Sprintf("ENTRAIN_TEST_SEED=%d", r.Seed)
	if r.Plant != PlantNone {
		env += fmt.Sprintf(" ENTRAIN_TEST_PLANT=%q", r.Plant.String())
	}
	return fmt.Sprintf("%s\n%s\nthe same run again, with its trace: %s go test -run TestSeed ./internal/simulation", text, r.Violation, env)
}
