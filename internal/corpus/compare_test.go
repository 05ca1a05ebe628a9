package corpus

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// state is what became of a value that has no text.
type state string

const (
	null    state = "NULL"
	absent  state = "(left out)"
	refused state = "(refused)"
)

// seen is a value as a reader of a format has it: a text, a state, or a list of these.
type seen struct {
	format string
	cell
	got any
	// read: the row was there before the changes.
	read bool
}

// report compares what was seen with what the source has.
type report struct {
	ends  *ends
	texts map[cell]*string // of the source's rows, by their ids there
	forms *forms
	// compared and differ count comparisons; values has the cells that were compared.
	compared, differ int
	values           map[cell]bool
	complaints       []string
}

func newReport(e *ends, texts map[cell]*string, f *forms) *report {
	return &report{ends: e, texts: texts, forms: f, values: map[cell]bool{}}
}

// only leaves a table's values.
func (r *report) only(table string) {
	r.texts = maps.Clone(r.texts)
	maps.DeleteFunc(r.texts, func(c cell, _ *string) bool { return c.table != table })
}

// mostComplaints is how many a report keeps of each format.
const mostComplaints = 40

func (r *report) complain(format string, args ...any) {
	if r.differ++; len(r.complaints) < mostComplaints {
		r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
	}
}

// compare checks that each row of the paths was seen once in a format, and is what the
// source has, or the form that the documents tell.
func (r *report) compare(format string, all []seen, paths ...int) {
	left := map[cell]bool{}
	for c := range r.texts {
		for _, path := range paths {
			c := c
			c.id += path * pathStep
			left[c] = true
		}
	}
	for _, s := range all {
		path := s.id / pathStep
		if !slices.Contains(paths, path) || path == pathUpdate && s.read { // it is what the update finds
			continue
		}
		if !left[s.cell] {
			r.complain("%s: %s came twice, or is nowhere in the source", format, r.name(s.cell))
			continue
		}
		delete(left, s.cell)
		r.compareOne(format, s)
	}
	for _, c := range slices.SortedFunc(maps.Keys(left), byCell) {
		r.complain("%s: %s did not come", format, r.name(c))
	}
}

func (r *report) compareOne(format string, s seen) {
	c := s.cell
	c.id %= pathStep
	if c.id < arrayID == (c.column == "v") { // the other column of the row is NULL
		r.compared++
		r.values[c] = true
	}
	want := r.want(format, c)
	if !reflect.DeepEqual(s.got, want) {
		got, want := around(fmt.Sprintf("%q", s.got), fmt.Sprintf("%q", want))
		r.complain("%s: %s is %s, want %s", format, r.name(s.cell), got, want)
	}
}

// want is what a reader of a format should have of a cell.
func (r *report) want(format string, c cell) any {
	k, text := r.ends.byTable[c.table], r.texts[c]
	form := r.forms.of(format, c)
	switch {
	case form == absent:
		return absent
	case text == nil:
		return null
	case r.forms.lists(format, k, c.column):
		return r.forms.list(format, k, *text)
	case form != nil:
		return form
	}
	return *text
}

// name is what a report calls a cell: its type, value and path.
func (r *report) name(c cell) string {
	k := r.ends.byTable[c.table]
	if k == nil {
		return fmt.Sprintf("%+v", c)
	}
	return fmt.Sprintf("type %s, value %.100s, path %s", k.name, k.shortSQL(c.id), pathOf(c.id))
}

func byCell(a, b cell) int {
	return strings.Compare(fmt.Sprint(a.table, a.column, a.id+1e6), fmt.Sprint(b.table, b.column, b.id+1e6))
}

// around cuts two texts to where they differ.
func around(a, b string) (string, string) {
	const shown = 80
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	cut := func(s string) string {
		if len(s) <= 2*shown {
			return s
		}
		from := max(0, min(at, len(s))-shown/2)
		return fmt.Sprintf("…%s… (%d bytes)", s[from:min(len(s), from+shown)], len(s))
	}
	return cut(a), cut(b)
}

// tell fails the test with what differs and logs what was compared.
func (r *report) tell(t *testing.T, what string) {
	t.Helper()
	for _, c := range r.complaints {
		t.Error(c)
	}
	t.Logf("%s: %d values, %d comparisons, %d differ", what, len(r.values), r.compared, r.differ)
}
