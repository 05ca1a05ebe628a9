package campaign

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// TestMutantsAreCaught is CR-07, sampled: the checkers catch planted bugs of the data
// path within seconds, and find nothing where there is none (P1 to P4).
func TestMutantsAreCaught(t *testing.T) {
	r := sampled(t, 2, 0)
	if wide() {
		r.Faults = 0
	}
	mutantsCampaign(t, r)
}

// TestMutantsAreComplete: every bug can be found in the table, and those of pure cores
// name a test.
func TestMutantsAreComplete(t *testing.T) {
	var names []string
	for _, m := range mutants {
		if slices.Contains(names, m.name) || m.where == "" || m.play == nil || (m.play == cores) != (m.test != test{}) {
			t.Errorf("%+v", m)
		}
		names = append(names, m.name)
	}
}

// TestCheckersOf: the table names all who found a bug, each once.
func TestCheckersOf(t *testing.T) {
	found := []string{"read 7: torn", "read 9: torn", "liveness: not there in time", "rows: differ: much", "rows: differ"}
	if got, want := checkersOf(found), "ledger, read meanwhile and liveness and rows"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := checkersOf([]string{"liveness: not there in time"}); got != "liveness" {
		t.Errorf("%q", got)
	}
}

// TestUnsettled: that the pipeline ended is not taken for a machine that is too slow.
func TestUnsettled(t *testing.T) {
	result := make(chan error, 1)
	result <- errors.New("it broke")
	err := settleOr(t.Context(), result, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if got := unsettled(err); got != "end: the pipeline ended: it broke" {
		t.Errorf("%q", got)
	}
	err = settleOr(t.Context(), nil, func(context.Context) error { return errors.New("not there in time") })
	if got := unsettled(err); got != "liveness: not there in time" {
		t.Errorf("%q", got)
	}
}
