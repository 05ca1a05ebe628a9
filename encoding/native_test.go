package encoding

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cell is a column of a test row: a string is a value, nil NULL, and
// entrain.Unchanged that.
func row(cells ...any) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, len(cells))
	for _, c := range cells {
		switch c := c.(type) {
		case string:
			b.Value([]byte(c))
		case nil:
			b.Null()
		default:
			b.Unchanged()
		}
	}
	r, _ := b.End()
	return r
}

func orders() *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: `or"ders`, Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true},
		{Name: "amount", Type: "numeric", Modifier: -1, Kind: entrain.Decimal},
		{Name: "rate", Type: "float8", Modifier: -1, Kind: entrain.Float},
		{Name: "paid", Type: "bool", Modifier: -1, Kind: entrain.Boolean},
		{Name: "bödy\n", Type: "text", Modifier: -1},
		{Name: "doc", Type: "json", Modifier: -1, Kind: entrain.JSON},
	}}
	t.Version = t.Fingerprint()
	return t
}

func tx(version uint64) *entrain.Transaction {
	return &entrain.Transaction{
		Stream: &entrain.Stream{Source: "shop", Incarnation: "7-1"}, ID: 743, Version: version,
		CommitTime: time.Date(2026, 11, 22, 20, 0, 0, 123_456_000, time.UTC),
	}
}

func events() []entrain.Event {
	t, tx1, tx2 := orders(), tx(24_094_528), tx(24_094_999)
	tx2.Origin = "node_b"
	none := entrain.Unchanged
	return []entrain.Event{
		{Op: entrain.OpInsert, Table: t, Tx: tx1, After: row("1", "1.50", "0.1", "t", "a\tb\"\\\x01é", "{\n\"a\": 1}")},
		{Op: entrain.OpInsert, Ordinal: 1, Table: t, Tx: tx1, After: row("9007199254740993", "NaN", "Infinity", "f", "", nil)},
		{Op: entrain.OpUpdate, Ordinal: 2, Table: t, Tx: tx1, Before: row("1", none, none, none, none, none),
			After: row("-2", nil, "1e+20", nil, none, none)},
		{Op: entrain.OpDelete, Ordinal: 3, Table: t, Tx: tx1, Before: row("-2", none, none, none, none, none)},
		{Op: entrain.OpInsert, Table: t, Tx: tx2, After: row("007", "-0", "-0", "x", "\xff\xfe", "null")},
		{Op: entrain.OpTruncate, Ordinal: 1, Tx: tx2, Truncate: &entrain.Truncate{Tables: []*entrain.Table{t, t}, Cascade: true}},
		{Op: entrain.OpMessage, Ordinal: 2, Tx: tx2, Message: &entrain.Message{Prefix: "app", Content: []byte("hello"), Transactional: true}},
		{Op: entrain.OpMessage, Ordinal: 3, Tx: tx2, Message: &entrain.Message{Prefix: "raw", Content: []byte{0, 0xff}}},
	}
}

// TestNativeGolden pins the wire form: docs/format.md describes these bytes.
func TestNativeGolden(t *testing.T) {
	enc := NewNative()
	var got []byte
	for _, e := range events() {
		var err error
		if got, err = enc.Append(got, &e); err != nil {
			t.Fatal(err)
		}
	}
	const golden = "testdata/native.jsonl"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("native form changed (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(string(got)) {
		if !json.Valid([]byte(line)) || !utf8.ValidString(line) {
			t.Errorf("not JSON in UTF-8: %q", line)
		}
	}
}

func TestNativeRefusesUnknownOperation(t *testing.T) {
	if _, err := NewNative().Append(nil, &entrain.Event{Op: 99, Tx: tx(1)}); err == nil {
		t.Error("operation 99 was written")
	}
}

// TestNativeAllocates proves P6 for the hot path: nothing per event.
func TestNativeAllocates(t *testing.T) {
	enc := NewNative()
	all := events()
	buf := make([]byte, 0, 64<<10)
	got := testing.AllocsPerRun(100, func() {
		buf = buf[:0]
		for i := range all {
			buf, _ = enc.Append(buf, &all[i])
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for %d events", got, len(all))
	}
}

// FuzzNativeValue proves that every text comes back from its JSON form, by the
// standard library's reader.
func FuzzNativeValue(f *testing.F) {
	for _, s := range []string{"", "1", "-0", "1e5", "NaN", "t", "a\"b", "\xff", "9007199254740992", "01", "é\u2028", "\x00"} {
		for kind := entrain.Text; kind <= entrain.Bytes; kind++ {
			f.Add(uint8(kind), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		out := appendValue(nil, entrain.Kind(kind), text)
		if got := readBack(t, out); got != string(text) {
			t.Errorf("%q of kind %d became %s, read back as %q", text, kind, out, got)
		}
	})
}

// readBack returns the canonical text that a JSON value of the native format
// stands for.
func readBack(t *testing.T, out []byte) string {
	var v any
	dec := json.NewDecoder(strings.NewReader(string(out)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q is not JSON: %v", out, err)
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return map[bool]string{true: "t", false: "f"}[v]
	case map[string]any:
		raw, err := base64.StdEncoding.DecodeString(v["base64"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	t.Fatalf("%q is a %T", out, v)
	return ""
}

func TestNewKnowsItsFormats(t *testing.T) {
	if _, err := New("native", Options{}); err != nil {
		t.Error(err)
	}
	if _, err := New("avro", Options{}); err == nil || !strings.Contains(err.Error(), "native") {
		t.Errorf("an unknown format gives %v, which does not name the known ones", err)
	}
}
