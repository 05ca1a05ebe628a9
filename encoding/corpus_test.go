package encoding

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// corpus is what a PostgreSQL has of each of its types: see testdata/capture.
const corpus = "../testdata/capture/types/"

var (
	createTable = regexp.MustCompile(`CREATE TABLE (\w+) \((.*)\);`)
	sqlColumn   = regexp.MustCompile(`("?\w+"?) ([\w".]+)(?:\((\d+)(?:,(\d+))?\))?(\[\])*( PRIMARY KEY)?(?:, |$)`)
)

// internalNames are the names that the log has for those of SQL.
var internalNames = map[string]string{"int": "int4"}

// corpusTables are the tables of the corpus by name.
func corpusTables(t *testing.T) map[string]*entrain.Table {
	text, err := os.ReadFile(corpus + "setup.sql")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]*entrain.Table{}
	for _, m := range createTable.FindAllStringSubmatch(string(text), -1) {
		table := &entrain.Table{Schema: "public", Name: m[1]}
		for _, c := range sqlColumn.FindAllStringSubmatch(m[2], -1) {
			table.Columns = append(table.Columns, corpusColumn(c))
		}
		table.Version = table.Fingerprint()
		tables[m[1]] = table
	}
	return tables
}

// corpusColumn makes a column of the parts of its definition.
func corpusColumn(c []string) entrain.Column {
	column := entrain.Column{Name: strings.Trim(c[1], `"`), Type: c[2], Modifier: -1, Key: c[6] != ""}
	if name := internalNames[c[2]]; name != "" {
		column.Type = name
	}
	if c[5] != "" {
		column.Type = "_" + column.Type
	}
	if c[4] != "" {
		var precision, scale int
		fmt.Sscan(c[3]+" "+c[4], &precision, &scale)
		column.Modifier = numericModifier(precision, scale)
	}
	return column
}

// corpusEvents are the rows of the corpus.
func corpusEvents(t *testing.T) []entrain.Event {
	t.Helper()
	tables := corpusTables(t)
	text, err := os.ReadFile(corpus + "want.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var all []entrain.Event
	for line := range strings.Lines(string(text)) {
		var native struct {
			Op, Table string
			After     map[string]any
		}
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.UseNumber()
		if err := decoder.Decode(&native); err != nil {
			t.Fatal(err)
		}
		table := tables[native.Table]
		if native.Op != "insert" || table == nil {
			continue
		}
		cells := make([]any, len(table.Columns))
		for i, c := range table.Columns {
			value, there := native.After[c.Name]
			if !there {
				t.Fatalf("the corpus has no column %s.%s: %s", native.Table, c.Name, line)
			}
			cells[i] = corpusText(value)
		}
		all = append(all, entrain.Event{Op: entrain.OpInsert, Table: table, Tx: tx(1), After: row(cells...)})
	}
	if len(all) < 29 {
		t.Fatalf("the corpus has %d rows", len(all))
	}
	return all
}

// corpusText is the canonical text of a value of the native format.
func corpusText(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case bool:
		return fmt.Sprint(v)[:1]
	case json.Number:
		return v.String()
	}
	return v.(string)
}

// cellOf is an event of one column of a row.
func cellOf(e *entrain.Event, i int) (one entrain.Event, text string, state entrain.State) {
	value, state := e.After.Column(i, len(e.Table.Columns))
	c := e.Table.Columns[i]
	one = entrain.Event{Op: entrain.OpInsert, Tx: e.Tx, After: row(string(value)), Table: &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{c}}}
	return one, string(value), state
}

// checkCorpus writes every value of the corpus and reads it back; those that have no
// place are told.
func checkCorpus(t *testing.T, enc Typed, read func(Schema, entrain.Column, []byte, string) (string, bool)) (refused []string) {
	values := 0
	for _, e := range corpusEvents(t) {
		for i, c := range e.Table.Columns {
			one, text, state := cellOf(&e, i)
			if state != entrain.Present || strings.HasPrefix(text, "sha256:") { // of a long value the corpus has the sum
				continue
			}
			values++
			out, err := enc.Append(nil, &one)
			var value *ValueError
			if errors.As(err, &value) {
				refused = append(refused, c.Type+" "+text)
				continue
			}
			schema, _ := enc.Schemas(one.Table)
			if got, ok := read(schema, c, out, text); err != nil || !ok {
				t.Errorf("%s %q: a reader gets %q, %v", c.Type, text, got, err)
			}
		}
	}
	if values < 200 {
		t.Errorf("%d values only", values)
	}
	return refused
}

// TestAvroCorpus: what a server has of all its types is read as it was, and what has
// no place is what the document says.
func TestAvroCorpus(t *testing.T) {
	a := NewAvro(TypedOptions{})
	refused := checkCorpus(t, a, func(_ Schema, c entrain.Column, b []byte, text string) (string, bool) {
		table := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{c}}
		return canonical(readAvro(t, a, table, b)[typedName(table, c.Name)], c.Type, text)
	})
	want := `date infinity|time 24:00:00|timestamp infinity|timestamptz infinity|date -infinity|timestamp -infinity|timestamptz -infinity|` +
		`timestamp 294276-12-31 23:59:59.999999|timestamptz 294276-12-31 23:59:59.999999+00`
	if got := strings.Join(refused, "|"); got != want {
		t.Errorf("refused %s", got)
	}
}

// TestProtoCorpus is the same for Protobuf.
func TestProtoCorpus(t *testing.T) {
	refused := checkCorpus(t, NewProto(TypedOptions{}), func(s Schema, c entrain.Column, b []byte, text string) (string, bool) {
		m := readProto(t, s, b)
		fields := m.Descriptor().Fields()
		return protoText(m, string(fields.Get(fields.Len()-1).Name()), c.Type, text)
	})
	want := "timestamptz infinity|timestamptz -infinity|timestamptz 4714-11-24 00:00:00+00 BC|timestamptz 294276-12-31 23:59:59.999999+00|timestamptz 10000-01-01 00:00:00+00"
	if got := strings.Join(refused, "|"); got != want {
		t.Errorf("refused %s", got)
	}
}
