package entrain_test

import (
	"testing"

	"github.com/entrainsync/entrain"
)

func TestGuarantees(t *testing.T) {
	both := entrain.Guarantees{Once: true, Whole: true}
	split := entrain.Guarantees{Once: true, Why: "six partitions"}
	none := entrain.Guarantees{Why: "a pipe"}
	for want, g := range map[string]entrain.Guarantees{
		"P1 P2 P3 P4":                    both.And(both),
		"P1 P2 P3 (six partitions)":      split.And(both),
		"P1 P3 (six partitions; a pipe)": split.And(none),
		"P1 P3 (a pipe)":                 both.And(none),
	} {
		if got := g.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
