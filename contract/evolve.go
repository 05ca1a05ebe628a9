package contract

import (
	"fmt"
	"slices"
	"strconv"
)

// Evolve returns how the next version of a contract differs from the one before, and
// what of it breaks what was promised: by the former's compatibility, which a new
// version cannot lower for itself. next is nil if there is none any more. A proposal
// and what is retired promise nothing.
func Evolve(was, next *Contract) []Difference {
	promised := was.Status == Active || was.Status == Deprecated
	if next == nil {
		return []Difference{{Kind: KindRemoved, Want: string(was.Status), Breaking: promised}}
	}
	level := was.Compatibility
	if !promised {
		level = None
	}
	all := compareShapes(was.Shape(), next.Shape(), level)
	for i := range was.Columns {
		k := slices.IndexFunc(next.Columns, func(c Column) bool { return c.Name == was.Columns[i].Name })
		if k >= 0 {
			all = append(all, evolveRules(&was.Columns[i], &next.Columns[k], level)...)
			all = append(all, changed(KindClass, was.Columns[i].Name, string(was.Class(&was.Columns[i])), string(next.Class(&next.Columns[k])))...)
		}
	}
	all = append(all, changed(KindLevel, "", string(was.Compatibility), string(next.Compatibility))...)
	if from, to := slices.Index(statuses, was.Status), slices.Index(statuses, next.Status); from != to {
		all = append(all, Difference{Kind: KindStatus, Want: string(was.Status), Have: string(next.Status), Breaking: to < from && promised})
	}
	return all
}

// changed is a difference that breaks nothing.
func changed(kind Kind, column, was, next string) []Difference {
	if was == next {
		return nil
	}
	return []Difference{{Kind: kind, Column: column, Want: was, Have: next}}
}

// evolveRules compares what two versions say of a column's values. Where values are
// let in that were not, a reader of the old contract meets what it does not know;
// where fewer are, a reader of the new one meets them in old rows.
func evolveRules(was, next *Column, level Compatibility) []Difference {
	var all []Difference
	for _, r := range []struct {
		name, from, to string
		holds, held    bool // the next rule lets in all that the former did; and the reverse
	}{
		{"values", fmt.Sprintf("%q", was.Values), fmt.Sprintf("%q", next.Values), allows(next.Values, was.Values), allows(was.Values, next.Values)},
		{"min", was.Min, next.Min, atMost(next.Min, was.Min), atMost(was.Min, next.Min)},
		{"max", was.Max, next.Max, atLeast(next.Max, was.Max), atLeast(was.Max, next.Max)},
		{"pattern", was.Pattern, next.Pattern, next.Pattern == "", was.Pattern == ""},
		{"max_length", length(was.MaxLength), length(next.MaxLength),
			atLeast(length(next.MaxLength), length(was.MaxLength)), atLeast(length(was.MaxLength), length(next.MaxLength))},
	} {
		if r.from != r.to {
			all = append(all, Difference{Kind: KindRule, Column: was.Name, Want: ruleText(r.name, r.from), Have: ruleText(r.name, r.to),
				Breaking: level.backward() && !r.holds || level.forward() && !r.held})
		}
	}
	return all
}

func ruleText(name, rule string) string {
	if rule == "" || rule == "[]" {
		return ""
	}
	return name + " " + rule
}

func length(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// allows reports whether the values of some are among those of all; none are any.
func allows(all, some []string) bool {
	if len(all) == 0 || len(some) == 0 {
		return len(all) == 0
	}
	return !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
}

func above(a, b string) bool { return compareNumbers([]byte(a), []byte(b)) > 0 }

// atMost reports whether the least number a lets in all that b does.
func atMost(a, b string) bool { return a == "" || b != "" && !above(a, b) }

// atLeast reports whether the largest number a lets in all that b does.
func atLeast(a, b string) bool { return a == "" || b != "" && !above(b, a) }
