package campaign

import (
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
