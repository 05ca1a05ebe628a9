package transform

import (
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
)

// BenchmarkApply is one event through a rule, of batches of 1,000.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name string
		rule Rule
	}{
		{"no rule fits", Rule{Tables: []string{"other.*"}}},
		{"rename", Rule{Tables: []string{"*.*"}, Rename: "a.b"}},
		{"exclude", Rule{Tables: []string{"*.*"}, Columns: Columns{Exclude: []string{"secret"}}}},
		{"where", Rule{Tables: []string{"*.*"}, Where: `new.total > 100 && new.status != "void"`}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr := mustNew(b, c.rule)
			in := &entrain.Batch{Events: slices.Repeat([]entrain.Event{change(orders(), "", open)}, 1000)}
			b.ReportAllocs()
			for b.Loop() {
				out, err := tr.Apply(in)
				if err != nil {
					b.Fatal(err)
				}
				if out != in {
					out.Free()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
		})
	}
}
