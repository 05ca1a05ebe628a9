package corpus

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// rule is a form that is not the source's text: a loss that the documents tell. All other
// values have to come back as they are.
type rule struct {
	formats []string
	// types matches the type in SQL as the log has it.
	types string
	// when is a condition on v; empty: of all values.
	when string
	// form is an expression for what a reader gets instead; or that is a state.
	form string
	gets state
	// says is where the documents tell it, word by word.
	file, says string
}

var (
	inDebezium = []string{"debezium", "debezium text"}
	numbers    = inDebezium[:1]
	textForms  = inDebezium[1:]
	inAvro     = []string{"avro"}
	inProtobuf = []string{"protobuf"}
)

const (
	formatFile   = "../../docs/format.md"
	registryFile = "../../docs/registry.md"
	// beyond is after what 64 bits of microseconds hold.
	beyond = "v > '294247-01-10 04:00:54.775807'"
	parts  = "(extract(year FROM v) * 12 + extract(month FROM v))"
	clock  = "(extract(hour FROM v) * 3600000000 + extract(minute FROM v) * 60000000 + extract(microseconds FROM v))"
)

var rules = []rule{
	{formats: numbers, types: `^numeric$`, form: "trim_scale(v)", file: formatFile,
		says: "without zeros at the end"},
	{formats: numbers, types: `^numeric`, when: "v::numeric IN ('NaN', 'Infinity', '-Infinity')", gets: null, file: formatFile,
		says: "NaN and infinity are `null`"},
	{formats: inDebezium, types: `^money$`, form: "v::numeric", file: formatFile,
		says: "`money` (scale 2)"},
	{formats: textForms, types: `^time$|^time\(`, when: "v = '24:00'", form: "'00:00:00'", file: formatFile,
		says: "24:00 is 00:00"},
	{formats: inDebezium, types: `^time with|^timetz`, form: "(v AT TIME ZONE 'UTC')::time", file: formatFile,
		says: "in UTC; the offset is lost, and 24:00 is 00:00"},
	{formats: numbers, types: `^timestamp$`, when: "isfinite(v) AND " + beyond, gets: null, file: formatFile,
		says: "What 64 bits do not hold is `null`"},
	{formats: inDebezium, types: `^timestamp$`, when: "v = '294247-01-10 04:00:25.2'", form: "'infinity'", file: formatFile,
		says: "the moments of these numbers read as infinity"},
	{formats: numbers, types: `^interval`, form: "CASE v::text WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775808 ELSE least(greatest(" +
		parts + " * 2629800000000 + extract(day FROM v) * 86400000000 + " + clock + ", -9223372036854775808), 9223372036854775807)::bigint END", file: formatFile,
		says: "µs, a month is a twelfth of 365.25 days; beyond 64 bits the nearest number of them"},
	{formats: inDebezium, types: `^bit varying`, form: "ltrim(v::text, '0')", file: formatFile,
		says: "zeros in front of a `varbit` are lost with its length"},
	{formats: numbers, types: `^(tsquery|jsonpath|pg_lsn|xid8?|cid|tid|txid_snapshot|pg_snapshot|reg.*|int2vector|oidvector|refcursor|aclitem|line|lseg|box|path|polygon|circle|(int4|int8|num|date|ts|tstz)multirange)$`,
		gets: absent, file: formatFile, says: "left out, as Debezium does"},
	{formats: inAvro, types: `^date$`, when: "NOT isfinite(v)", gets: refused, file: registryFile,
		says: "`infinity` in dates and times"},
	{formats: inAvro, types: `^timestamp`, when: "NOT isfinite(v) OR " + beyond, gets: refused, file: registryFile,
		says: "timestamps that 64 bits of microseconds do not hold (after 294247)"},
	{formats: inAvro, types: `^time$|^time\(`, when: "v = '24:00'", gets: refused, file: registryFile,
		says: "`24:00:00`"},
	{formats: inAvro, types: `^numeric\(`, when: "v = 'NaN'", gets: refused, file: registryFile,
		says: "`NaN` in `numeric(p,s)`"},
	{formats: inProtobuf, types: `^timestamp with|^timestamptz`, when: "NOT isfinite(v) OR v < '0001-01-01 00:00:00+00' OR v >= '10000-01-01 00:00:00+00'", gets: refused,
		file: registryFile, says: "in Protobuf a `timestamptz` outside the years 1 to 9999"},
}

// The losses of arrays in the format debezium, which is the only one that has them as lists.
var arraysSay = []string{"bounds are not written", "arrays of domains"}

// forms are the rules' results.
type forms struct {
	cells map[string]map[cell]any
	// elements has the forms of a table's values by their texts.
	elements map[string]map[string]any
}

func newForms(t *testing.T, e *ends, texts map[cell]*string) *forms {
	t.Helper()
	f := &forms{cells: map[string]map[cell]any{}, elements: map[string]map[string]any{}}
	used := make([]int, len(rules))
	for _, row := range pgtest.Query(t, e.source, settings()+strings.Join(rulesSQL(e), " UNION ALL ")) {
		n, err1 := strconv.Atoi(row[0])
		id, err2 := strconv.Atoi(row[2])
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		r, c := &rules[n], cell{row[1], id, "v"}
		form := any(row[3])
		if r.gets != "" {
			form = r.gets
		}
		if form != any(*texts[c]) {
			used[n]++
		}
		for _, format := range r.formats {
			f.put(format, c, form)
			f.elements[format+c.table][*texts[c]] = form
		}
	}
	for i, r := range rules {
		if used[i] == 0 {
			t.Errorf("no value needs the rule %+v", r)
		}
	}
	return f
}

func (f *forms) put(format string, c cell, form any) {
	if f.cells[format] == nil {
		f.cells[format] = map[cell]any{}
	}
	if f.elements[format+c.table] == nil {
		f.elements[format+c.table] = map[string]any{}
	}
	f.cells[format][c] = form
}

func (r *rule) matches(k *kind) bool {
	types := matchers[r.types]
	if types == nil {
		types = regexp.MustCompile(r.types)
		matchers[r.types] = types
	}
	return types.MatchString(k.base())
}

// matchers are the compiled types of rules; the tests of the package run one by one.
var matchers = map[string]*regexp.Regexp{}

func rulesSQL(e *ends) (queries []string) {
	for i, r := range rules {
		for _, k := range e.kinds {
			if !r.matches(k) {
				continue
			}
			form, when := "''", "true"
			if r.form != "" {
				form = "(" + r.form + ")::text"
			}
			if r.when != "" {
				when = r.when
			}
			queries = append(queries, fmt.Sprintf("SELECT %d, '%s', id, %s FROM public.%[2]s WHERE id < %[4]d AND num_nulls(v) = 0 AND (%s)", i, k.table, form, arrayID, when))
		}
	}
	return queries
}

// of returns the form of a cell, nil if it is the text. Where values are left out, NULL and
// arrays are, too.
func (f *forms) of(format string, c cell) any {
	if form := f.cells[format][cell{c.table, firstID, "v"}]; form == absent {
		return absent
	}
	return f.cells[format][c]
}

// lists reports whether a format has arrays as lists.
func (f *forms) lists(format string, k *kind, column string) bool {
	return slices.Contains(inDebezium, format) && (column == "a" || strings.HasSuffix(k.base(), "[]"))
}

// list is an array as a list of forms. The log does not tell what domain the elements of
// one are of: they are texts.
func (f *forms) list(format string, k *kind, text string) any {
	delimiter := byte(',')
	if k.name == "box" {
		delimiter = ';'
	}
	list, err := arrayOf(text, delimiter)
	if err != nil {
		return err
	}
	elements := f.elements[format+k.table]
	if k.as != "" {
		elements = nil
	}
	return formed(list, elements)
}

func formed(v any, elements map[string]any) any {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		if form, lossy := elements[v]; lossy {
			return form
		}
		return v
	}
	list := v.([]any)
	for i := range list {
		list[i] = formed(list[i], elements)
	}
	return list
}

// TestDocumentsTellTheLosses: what a rule allows is written where people read it.
func TestDocumentsTellTheLosses(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(text)), " ")
	}
	texts := map[string]string{formatFile: read(formatFile), registryFile: read(registryFile)}
	for _, r := range rules {
		if r.says == "" || !strings.Contains(texts[r.file], r.says) {
			t.Errorf("%s does not say %q", r.file, r.says)
		}
	}
	for _, says := range arraysSay {
		if !strings.Contains(texts[formatFile], says) {
			t.Errorf("%s does not say %q", formatFile, says)
		}
	}
}
