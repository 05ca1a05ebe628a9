package encoding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
)

// shapesOf are the shapes of tables by version.
func shapesOf(tables ...*entrain.Table) Shapes {
	return func(version uint64) (*entrain.Table, error) {
		for _, t := range tables {
			if t.Version == version {
				return t, nil
			}
		}
		return nil, fmt.Errorf("no table has version %016x", version)
	}
}

// TestNativeDecodeIdentity: a decoded line is the event that it was made of,
// whatever the order of its members, and a batch stays as it is while the next
// one is made.
func TestNativeDecodeIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyevent.NewMaker(t)
		versions := map[uint64]bool{}
		m.Tables = slices.DeleteFunc(m.Tables, func(t *entrain.Table) bool {
			again := versions[t.Version]
			versions[t.Version] = true
			return again
		})
		m.Stream.Incarnation = strings.ReplaceAll(m.Stream.Incarnation, "/", "-")
		enc, dec := NewNative(), NewNativeDecoder(NativeDecoderOptions{Shapes: shapesOf(m.Tables...), Database: m.Stream.Database})
		var kept []*entrain.Batch
		var want [][]entrain.Event
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			want = append(want, addAll(t, m, enc, dec))
			kept = append(kept, dec.Batch())
			if rapid.Bool().Draw(t, "freed") {
				compare(t, want[len(want)-1], kept[len(kept)-1])
				kept[len(kept)-1].Free()
				want, kept = want[:len(want)-1], kept[:len(kept)-1]
			}
		}
		for i := range kept {
			compare(t, want[i], kept[i])
		}
	})
}

func addAll(t *rapid.T, m *anyevent.Maker, enc *Native, dec *NativeDecoder) []entrain.Event {
	events := make([]entrain.Event, rapid.IntRange(0, 8).Draw(t, "events"))
	for i := range events {
		e := m.Event(t)
		e.Settling = false
		if e.Op == entrain.OpSchema && rapid.IntRange(0, 3).Draw(t, "make") == 0 {
			e.Schema = &entrain.SchemaChange{Make: &entrain.Definition{Dialect: "postgres", Before: []string{"CREATE TABLE \"a\"", ""}, References: []string{"x"}}}
		}
		line, err := enc.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "in another order") {
			line = shuffle(t, line)
		}
		if _, err := dec.Add(line); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		clear(line) // nothing of it is kept
		events[i] = e
	}
	return events
}

// sameEvents takes a missing list for an empty one, but no missing row for a row.
var sameEvents = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() != reflect.TypeFor[entrain.Row]() }, cmpopts.EquateEmpty())

func compare(t *rapid.T, want []entrain.Event, got *entrain.Batch) {
	if diff := cmp.Diff(want, got.Events, sameEvents); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

// shuffle puts the members of a JSON object, and of its rows, in another order
// with white space between them.
func shuffle(t *rapid.T, line []byte) []byte {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		t.Fatal(err)
	}
	names := rapid.Permutation(slices.Sorted(maps.Keys(members))).Draw(t, "order")
	out := []byte(" {")
	for i, name := range names {
		if i > 0 {
			out = append(out, " ,\n"...)
		}
		value := []byte(members[name])
		if (name == "before" || name == "after") && value[0] == '{' && utf8Names(value) {
			value = shuffle(t, value)
		}
		quoted, _ := json.Marshal(name) // with other escapes than ours
		out = append(append(append(out, quoted...), "\t: "...), value...)
	}
	return append(out, "}\r\n"...)
}

// utf8Names reports whether the names of an object differ as the standard
// library reads them.
func utf8Names(object []byte) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(object, &members) == nil && !bytes.Contains(object, []byte(`\ufffd`))
}

// TestNativeDecodeForeign: lines that others could have written.
func TestNativeDecodeForeign(t *testing.T) {
	table := orders()
	const version = `"schema_version":"%016x"`
	shape := fmt.Sprintf(version, table.Version)
	const tx = `"tx":{"id":743,"version":"5","time":"2026-11-22T22:00:00+02:00"}`
	cases := []struct{ line, want string }{
		{`{"v":1,"op":"insert","new member":[{"a":[]},-1.5e3,true,null,"\u0000"],"id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":1}}`, "1 ~ ~ ~ ~ ~"},
		{`{"v":1,"op":"read","id":"shop/7/5/2",` + shape + `,` + tx + `,"before":null,"after":{"paid":true,"id":"x","b\u00f6dy\n":"\ud83d\ude00\/","doc":null}}`, "x ~ ~ t \U0001F600/ NULL"},
		{`{"v":1,"op":"delete","id":"shop/7/5/2",` + shape + `,` + tx + `,"before":{"rate":-0,"amount":{"base64":"/w=="}}}`, "~ \xff -0 ~ ~ ~"},
		{`{"v":2,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":1}}`, "version 2, known is 1"},
		{`{"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":1}}`, `no member "v"`},
		{`{"v":1,"op":"merge","id":"shop/7/5/2",` + tx + `}`, "no operation"},
		{`{"v":1,"op":"insert","id":"shop/7/6/2",` + shape + `,` + tx + `,"after":{"id":1}}`, "another version"},
		{`{"v":1,"op":"insert","id":"2",` + shape + `,` + tx + `,"after":{"id":1}}`, "no id"},
		{`{"v":1,"op":"insert","id":"7/5/2",` + shape + `,` + tx + `,"after":{"id":1}}`, "without source"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + tx + `,"after":{"id":1}}`, "without schema_version"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2","schema_version":"00000000000000ff",` + tx + `,"after":{"id":1}}`, "no table has version 00000000000000ff"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2","schema_version":"ff",` + tx + `,"after":{"id":1}}`, "no version of a shape"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,"after":{"id":1}}`, "no transaction"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":1,"id":2}}`, `"id" of table public.or"ders is there twice`},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"other":2}}`, `"other" of table public.or"ders`},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":[1]}}`, "no value"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":"\ud83d"}}`, "an escape"},
		{`{"v":1,"op":"insert","id":"shop/7/5/2",` + shape + `,` + tx + `,"after":{"id":1}}{`, "something follows"},
		{`{"v":1,"op":"update","id":"shop/7/5/2",` + shape + `,` + tx + `,"before":{"id":1}}`, "no row for this operation"},
		{`{"v":1,"op":"message","id":"shop/7/5/2",` + tx + `}`, "without content"},
		{`{"v":1,"op":"message","id":"shop/7/5/2","x":` + strings.Repeat("[", 1000) + `}`, "within values"},
		{`null`, "no {"},
		{``, "no {"},
	}
	for _, c := range cases {
		dec := NewNativeDecoder(NativeDecoderOptions{Shapes: shapesOf(table)})
		got, err := dec.Add([]byte(c.line))
		if err != nil {
			if !strings.Contains(err.Error(), c.want) || len(dec.Batch().Events) > 0 {
				t.Errorf("%s\n%v, want %q", c.line, err, c.want)
			}
			continue
		}
		if s := cells(got); s != c.want || got.ID() != "shop/7/5/2" || !got.Tx.CommitTime.Equal(tx0) {
			t.Errorf("%s\n%s %s %v, want %q", c.line, got.ID(), s, got.Tx.CommitTime, c.want)
		}
	}
}

var tx0 = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

func cells(e *entrain.Event) string {
	r := e.After
	if r == nil {
		r = e.Before
	}
	var out []string
	for i := range e.Table.Columns {
		v, state := r.Column(i, len(e.Table.Columns))
		out = append(out, [...]string{string(v), "NULL", "~"}[state])
	}
	return strings.Join(out, " ")
}

// TestNativeDecodeLearns: rows behind a schema event need no other place to
// learn their shape from, and errors of that place are handed on.
func TestNativeDecodeLearns(t *testing.T) {
	before, after := orders(), orders()
	after.Columns = append(after.Columns, entrain.Column{Name: "c", Type: "bool", Modifier: -1, Kind: entrain.Boolean})
	after.Version = after.Fingerprint()
	enc := NewNative()
	line := func(e entrain.Event) []byte {
		e.Tx = tx(5)
		out, err := enc.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	none := errors.New("asked")
	dec := NewNativeDecoder(NativeDecoderOptions{Shapes: func(uint64) (*entrain.Table, error) { return nil, none }})
	insert := line(entrain.Event{Op: entrain.OpInsert, Table: after, After: row("1", nil, nil, nil, nil, nil, "t")})
	if _, err := dec.Add(insert); !errors.Is(err, none) {
		t.Errorf("an unknown shape: %v", err)
	}
	schema, err := dec.Add(line(entrain.Event{Op: entrain.OpSchema, Table: after, Schema: entrain.CompareTables(before, after, nil, nil)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(schema.Schema.Columns) != 1 || schema.Schema.Columns[0].After != &schema.Table.Columns[6] {
		t.Errorf("changes %+v", schema.Schema.Columns)
	}
	want := schema.Table
	if got, err := dec.Add(insert); err != nil || got.Table != want {
		t.Errorf("a shape that was told: %v", err)
	}
}

// FuzzNativeDecode: any line is an error or an event that is written and read
// again as the same.
func FuzzNativeDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/native.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(golden) {
		f.Add(line)
	}
	changed := orders()
	changed.Columns = append(changed.Columns[1:], entrain.Column{Name: "c", Type: "bool", Modifier: -1, Kind: entrain.Boolean})
	changed.Version = changed.Fingerprint()
	fill := "f"
	c := entrain.CompareTables(orders(), changed, nil, []entrain.ColumnFacts{{ID: 7, Name: "c", Fill: &fill}})
	c.DDL = []entrain.DDL{{Tag: "ALTER TABLE", Dropped: []string{"id"}, Columns: []entrain.ColumnFacts{{ID: 7, Name: "c"}}}}
	for _, schema := range []*entrain.SchemaChange{c, {Make: &entrain.Definition{Dialect: "postgres", Before: []string{"x"}}}} {
		line, err := NewNative().Append(nil, &entrain.Event{Op: entrain.OpSchema, Table: changed, Tx: tx(5), Schema: schema})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	known := shapesOf(orders())
	f.Fuzz(func(t *testing.T, line []byte) {
		first := NewNativeDecoder(NativeDecoderOptions{Shapes: known})
		e, err := first.Add(line)
		if err != nil {
			return
		}
		enc := NewNative()
		once, err := enc.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := NewNativeDecoder(NativeDecoderOptions{Shapes: known}).Add(once)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, line, once)
		}
		e.Tx.CommitTime = e.Tx.CommitTime.Truncate(time.Microsecond)
		if diff := cmp.Diff(e, again, sameEvents); diff != "" {
			t.Fatalf("%s\n%s", once, diff)
		}
	})
}

// smallLines are lines of small rows, ten a transaction.
func smallLines(tb testing.TB, n int) (*entrain.Table, [][]byte) {
	table := &entrain.Table{Schema: "public", Name: "small", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true}, {Name: "a", Type: "int4", Modifier: -1, Kind: entrain.Integer},
		{Name: "b", Type: "text", Modifier: -1}, {Name: "c", Type: "timestamptz", Modifier: -1}}}
	table.Version = table.Fingerprint()
	var lines [][]byte
	enc := NewNative()
	for i := range n {
		e := entrain.Event{Op: entrain.OpInsert, Ordinal: uint64(i % 10), Table: table, Tx: tx(uint64(1000 + i/10)),
			After: row(strconv.Itoa(100_000+i), "42", "a small text of some\tlength", "2026-11-22 20:00:00.123456+00")}
		line, err := enc.Append(nil, &e)
		if err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, line)
	}
	return table, lines
}

// TestNativeDecodeAllocates proves that a line costs no allocation (P6).
func TestNativeDecodeAllocates(t *testing.T) {
	table, lines := smallLines(t, 1000)
	dec := NewNativeDecoder(NativeDecoderOptions{Shapes: shapesOf(table)})
	got := testing.AllocsPerRun(20, func() {
		for _, line := range lines {
			if _, err := dec.Add(line); err != nil {
				t.Fatal(err)
			}
		}
		dec.Batch().Free()
	})
	if got > 40 {
		t.Errorf("%v allocations for %d lines", got, len(lines))
	}
}

func BenchmarkNativeDecode(b *testing.B) {
	table, lines := smallLines(b, 5000)
	dec := NewNativeDecoder(NativeDecoderOptions{Shapes: shapesOf(table)})
	b.SetBytes(int64(len(bytes.Join(lines, nil))))
	b.ReportAllocs()
	for b.Loop() {
		for _, line := range lines {
			if _, err := dec.Add(line); err != nil {
				b.Fatal(err)
			}
		}
		dec.Batch().Free()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(lines)), "ns/event")
}
