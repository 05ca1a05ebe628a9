// Package transform changes what a pipeline carries, by rules over tables:
// other names for tables and columns, fewer columns, fewer rows. Rows are
// chosen by CEL expressions (https://cel.dev).
//
//	t, err := transform.New([]transform.Rule{{
//		Tables: []string{"public.orders"},
//		Rename: "sales.orders",
//		Where:  `new.total > 100`,
//	}})
//	…
//	pipeline.Options{…, Transform: t.Apply}
//
// A table has one rule: the first one whose patterns fit it. Each shape of a
// table is prepared once, when its first change arrives; what the rule says
// about columns that the shape does not have is then a named stop. What cannot
// be judged is a named stop, too, and never dropped (P1). docs/transform.md
// has every key.
package transform
