package corpus

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

//go:embed testdata
var testdata embed.FS

// kind is a type of the corpus: the heading of a paragraph.
type kind struct {
	// name is the type in SQL; as is what the log calls it, if it is a domain.
	name, as string
	since    int
	values   []value
	table    string // of the rows
}

// value is an expression of SQL. A large one is in no array.
type value struct {
	sql   string
	since int
	large bool
}

// base is the type in SQL that the log shows.
func (k *kind) base() string { return cmp.Or(k.as, k.name) }

// word is base without its modifiers: "numeric" of numeric(10,2).
func (k *kind) word() string {
	before, after, modified := strings.Cut(k.base(), "(")
	if modified {
		_, behind, _ := strings.Cut(after, ")")
		return before + behind
	}
	return before
}

// numbers are the modifiers of base.
func (k *kind) numbers() (all []int) {
	_, after, _ := strings.Cut(k.base(), "(")
	inside, _, _ := strings.Cut(after, ")")
	for text := range strings.SplitSeq(inside, ",") {
		if n, err := strconv.Atoi(text); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// parseKinds reads paragraphs: "= TYPE ; since=15 ; as=TYPE", and lines that are each an
// expression, with "@16" in front if an older server does not have it and "~" if it is
// large.
func parseKinds(text string) (all []*kind, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
		case strings.HasPrefix(line, "= "):
			k, err := parseKind(line[2:])
			if err != nil {
				return nil, err
			}
			all = append(all, k)
		case len(all) == 0:
			return nil, fmt.Errorf("the value %s has no type", line)
		default:
			v, err := parseValue(line)
			if err != nil {
				return nil, err
			}
			last := all[len(all)-1]
			last.values = append(last.values, v)
		}
	}
	return all, nil
}

func parseKind(heading string) (*kind, error) {
	parts := strings.Split(heading, " ; ")
	k := &kind{name: parts[0]}
	for _, option := range parts[1:] {
		name, text, _ := strings.Cut(option, "=")
		switch name {
		case "since":
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", heading, err)
			}
			k.since = n
		case "as":
			k.as = text
		default:
			return nil, fmt.Errorf("%s: unknown option %q", heading, name)
		}
	}
	return k, nil
}

func parseValue(line string) (value, error) {
	var v value
	if rest, versioned := strings.CutPrefix(line, "@"); versioned {
		version, sql, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(version)
		if err != nil {
			return v, fmt.Errorf("%s: %w", line, err)
		}
		v.since, line = n, sql
	}
	v.sql, v.large = strings.CutPrefix(line, "~ ")
	return v, nil
}

// kinds are those that servers of a version have, with their values.
func kinds(t *testing.T, major int) []*kind {
	t.Helper()
	var all []*kind
	for _, file := range []string{"numbers", "times", "texts", "things", "compound"} {
		text, err := testdata.ReadFile("testdata/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		some, err := parseKinds(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, some...)
	}
	all = slices.DeleteFunc(all, func(k *kind) bool { return k.since > major })
	for i, k := range all {
		k.table = fmt.Sprintf("c_%03d", i)
		k.values = slices.DeleteFunc(k.values, func(v value) bool { return v.since > major })
	}
	return all
}

// The ids of rows: NULL, the values, the arrays of them; and what is added for each
// way on which a row comes.
const (
	nullID   = 0
	firstID  = 1
	arrayID  = 500
	arrays   = 6 // how many
	pathStep = 10_000
)

// paths are the ways on which rows come, in the order of their ids.
var paths = [...]string{"snapshot", "stream", "update", "tip"}

const (
	pathSnapshot = iota
	pathStream
	pathUpdate
	pathTip
)

func pathOf(id int) string { return paths[id/pathStep] }

// mostElements is how many values an array takes.
const mostElements = 32

// createSQL makes the table of a type.
func (k *kind) createSQL() string {
	return fmt.Sprintf("CREATE TABLE public.%s (id int PRIMARY KEY, v %s, a %s[])", k.table, k.name, k.name)
}

// fillSQL writes the values, and arrays of them: without elements, with all of them and
// NULL, of NULL only, of two dimensions, of two with odd lower bounds, of three.
func (k *kind) fillSQL() string {
	var sql strings.Builder
	fmt.Fprintf(&sql, "INSERT INTO public.%s (id, v) VALUES (%d, NULL)", k.table, nullID)
	var elements []string
	for i, v := range k.values {
		expression := fmt.Sprintf("(%s)::%s", v.sql, k.name)
		fmt.Fprintf(&sql, ", (%d, %s)", firstID+i, expression)
		if !v.large && len(elements) < mostElements {
			elements = append(elements, expression)
		}
	}
	first, last := "NULL", "NULL"
	if len(elements) > 0 {
		first, last = elements[0], elements[len(elements)-1]
	}
	square := fmt.Sprintf("ARRAY[[%[1]s, NULL], [%[2]s, %[1]s]]::%[3]s[]", first, last, k.name)
	forms := [arrays]string{
		"'{}'", fmt.Sprintf("ARRAY[%s, NULL]::%s[]", strings.Join(append([]string{"NULL"}, elements...), ", "), k.name),
		"'{NULL}'", square, fmt.Sprintf("('[-1:0][7:8]=' || %s::text)::%s[]", square, k.name),
		fmt.Sprintf("ARRAY[[[%s], [NULL]]]::%s[]", last, k.name),
	}
	for i, a := range forms {
		fmt.Fprintf(&sql, "; INSERT INTO public.%s (id, a) VALUES (%d, %s)", k.table, arrayID+i, a)
	}
	return sql.String()
}

// shortSQL is how a value was written, for reports.
func (k *kind) shortSQL(id int) string {
	switch n := id%pathStep - firstID; {
	case n < 0:
		return "NULL"
	case n < len(k.values):
		return k.values[n].sql
	}
	return fmt.Sprintf("array %d", id%pathStep-arrayID)
}

// TestParsesValues: the lines mean what is said of them, and mistakes are told.
func TestParsesValues(t *testing.T) {
	all, err := parseKinds("= numeric(3,-2) ; since=15\n1\n@16 ~ repeat('x', 9)\n\n= day ; as=date\n")
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	k := all[0]
	if k.name != "numeric(3,-2)" || k.word() != "numeric" || !slices.Equal(k.numbers(), []int{3, -2}) || k.since != 15 || all[1].base() != "date" {
		t.Errorf("%+v %+v", k, all[1])
	}
	if want := []value{{sql: "1"}, {sql: "repeat('x', 9)", since: 16, large: true}}; !slices.Equal(k.values, want) {
		t.Errorf("values %+v", k.values)
	}
	if w := (&kind{name: "interval day to second(3)"}).word(); w != "interval day to second" {
		t.Errorf("word %q", w)
	}
	for _, wrong := range []string{"1\n", "= t ; size=3\n", "= t ; since=x\n", "= t\n@x 1\n"} {
		if _, err := parseKinds(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}
