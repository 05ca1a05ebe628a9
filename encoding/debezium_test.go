package encoding

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

// checkGolden compares lines with a file of testdata and makes sure that each
// is JSON.
func checkGolden(t *testing.T, golden string, got []byte) {
	t.Helper()
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
		t.Errorf("%s differs (-want +got):\n%s", golden, diff)
	}
	for line := range strings.Lines(string(got)) {
		if !json.Valid([]byte(line)) || !utf8.ValidString(line) {
			t.Errorf("not JSON in UTF-8: %q", line)
		}
	}
}

// processed is the time at which the tests' events are encoded.
func processed() time.Time { return time.Date(2026, 11, 22, 20, 0, 1, 2_003_004, time.UTC) }

func newDebezium(t testing.TB, o DebeziumOptions) *Debezium {
	t.Helper()
	o.Now = processed
	d, err := NewDebezium(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stock has a composite key and a column of most groups of types.
func stock() *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "stöck", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Key: true},
		{Name: "place", Type: "text", Modifier: -1, Key: true},
		{Name: "price", Type: "numeric", Modifier: 8<<16 | 2 + 4},
		{Name: "weight", Type: "numeric", Modifier: -1},
		{Name: "on", Type: "bool", Modifier: -1},
		{Name: "at", Type: "timestamp", Modifier: -1},
		{Name: "body", Type: "bytea", Modifier: -1},
		{Name: "tags", Type: "_text", Modifier: -1},
		{Name: "scores", Type: "_float8", Modifier: -1},
		{Name: "mood", Type: "public.mood", Modifier: -1},
		{Name: "shape", Type: "polygon", Modifier: -1},
	}}
	t.Version = t.Fingerprint()
	return t
}

func stockEvents() []entrain.Event {
	t, full, tx1, tx2, alone := stock(), stock(), tx(24_094_528), tx(24_094_999), tx(24_095_103)
	full.Name, full.FullIdentity = "full", true
	tx1.Stream.Database = "shop db"
	for _, other := range []*entrain.Transaction{tx2, alone} {
		other.Stream = tx1.Stream
	}
	tx2.Origin, tx2.ID = "node_b", 744
	alone.ID, alone.CommitTime = 0, time.Time{}
	none := entrain.Unchanged
	values := []any{"1", "a\"b", "12.50", "-1.50", "t", "2026-11-22 20:00:00.5", `\x00ff`, `{a,NULL,"b c"}`, "{1,NaN}", "sad", "((0,0))"}
	moved := []any{"2", "a\"b", nil, nil, "f", nil, none, none, none, nil, none}
	oldKey := []any{"1", "a\"b", none, none, none, none, none, none, none, none, none}
	return []entrain.Event{
		{Op: entrain.OpInsert, Table: t, Tx: tx1, After: row(values...)},
		{Op: entrain.OpUpdate, Ordinal: 1, Table: t, Tx: tx1, Before: row(oldKey...), After: row(moved...)},
		{Op: entrain.OpUpdate, Ordinal: 2, Table: full, Tx: tx1, Before: row(values...), After: row(moved...)},
		{Op: entrain.OpDelete, Ordinal: 3, Table: t, Tx: tx1, Before: row(oldKey...)},
		{Op: entrain.OpTruncate, Tx: tx2, Truncate: &entrain.Truncate{Tables: []*entrain.Table{t, full}}},
		{Op: entrain.OpMessage, Ordinal: 1, Tx: tx2, Message: &entrain.Message{Prefix: "app", Content: []byte{0, 0xff}, Transactional: true}},
		{Op: entrain.OpMessage, Tx: alone, Message: &entrain.Message{Prefix: "app", Content: []byte("hello")}},
	}
}

// TestDebeziumGolden pins the wire form, with transaction metadata; package
// internal/debezium compares it with the real one.
func TestDebeziumGolden(t *testing.T) {
	d := newDebezium(t, DebeziumOptions{ProvideTransactionMetadata: true})
	var got []byte
	for _, e := range stockEvents() {
		var err error
		if got, err = d.Append(got, &e); err != nil {
			t.Fatal(err)
		}
	}
	got = d.AppendEnd(got)
	if again := d.AppendEnd(nil); len(again) > 0 {
		t.Errorf("a transaction ends twice: %s", again)
	}
	checkGolden(t, "testdata/debezium.jsonl", got)
}

// TestDebeziumRecords: keys, values and headers are there one by one, and stay
// as they are until the next call.
func TestDebeziumRecords(t *testing.T) {
	d := newDebezium(t, DebeziumOptions{TopicPrefix: "pre fix", MessageKeyColumns: map[string][]string{"public.stöck": {"place"}}})
	all := stockEvents()
	records, err := d.Records(&all[3])
	if err != nil || len(records) != 2 {
		t.Fatalf("a delete makes %d records, %v", len(records), err)
	}
	for _, r := range records {
		if string(r.Key) != `{"place":"a\"b"}` || r.Topic != "pre_fix.public.st_ck" || r.Headers != nil {
			t.Errorf("got %+v", r)
		}
	}
	if records[0].Value == nil || records[1].Value != nil {
		t.Error("a delete is not a value and then a tombstone")
	}
	if records, err = d.Records(&all[1]); err != nil || len(records) != 1 {
		t.Errorf("an update that leaves the configured key alone makes %d records, %v", len(records), err)
	}
	d = newDebezium(t, DebeziumOptions{})
	if records, err = d.Records(&all[1]); err != nil || len(records) != 3 {
		t.Fatalf("an update of the key makes %d records, %v", len(records), err)
	}
	const was, is = `{"id":1,"place":"a\"b"}`, `{"id":2,"place":"a\"b"}`
	for i, want := range []Header{{"__debezium.newkey", []byte(is)}, {"__debezium.newkey", []byte(is)}, {"__debezium.oldkey", []byte(was)}} {
		if diff := cmp.Diff([]Header{want}, records[i].Headers); diff != "" {
			t.Errorf("record %d (-want +got):\n%s", i, diff)
		}
	}
	if string(records[1].Key) != was || string(records[2].Key) != is {
		t.Errorf("keys are %s and %s", records[1].Key, records[2].Key)
	}
}

// TestDebeziumSkipsTruncates: a truncate that is skipped leaves no trace in the
// transaction's metadata, and what follows it in the transaction is there.
func TestDebeziumSkipsTruncates(t *testing.T) {
	d := newDebezium(t, DebeziumOptions{SkippedOperations: "t", ProvideTransactionMetadata: true})
	all := stockEvents()
	if records, err := d.Records(&all[4]); err != nil || len(records) != 0 {
		t.Errorf("a truncate makes %d records, %v, want none", len(records), err)
	}
	if records := d.End(); len(records) != 0 {
		t.Errorf("a transaction of nothing else ends with %s", records[0].Value)
	}
	if records, err := d.Records(&all[5]); err != nil || len(records) != 2 {
		t.Errorf("the message behind it makes %d records, %v, want BEGIN and itself", len(records), err)
	}
	end := d.End()
	if len(end) != 1 || !strings.Contains(string(end[0].Value), `"event_count":1,`) {
		t.Errorf("the transaction ends with %+v, want one event", end)
	}
}

func TestDebeziumRefuses(t *testing.T) {
	table := stock()
	cells := func(i int, value string) []any {
		all := []any{"1", "x", nil, nil, nil, nil, nil, nil, nil, nil, nil}
		all[i] = value
		return all
	}
	for i, value := range map[int]string{0: "007", 2: "1.5", 3: "1e5", 4: "x", 5: "yesterday", 6: "abc", 7: "{a", 8: "{x}"} {
		_, err := newDebezium(t, DebeziumOptions{}).Append(nil, &entrain.Event{
			Op: entrain.OpInsert, Table: table, Tx: tx(1), After: row(cells(i, value)...),
		})
		if name := table.Columns[i].Name; err == nil || !strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%s as %s gives %v, which does not name the column", value, table.Columns[i].Type, err)
		}
	}
	if _, err := newDebezium(t, DebeziumOptions{}).Append(nil, &entrain.Event{Op: 99, Tx: tx(1)}); err == nil {
		t.Error("operation 99 was written")
	}
	missing := DebeziumOptions{MessageKeyColumns: map[string][]string{"public.stöck": {"nope"}}}
	if _, err := newDebezium(t, missing).Append(nil, &stockEvents()[0]); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("a key column that is not there gives %v", err)
	}
}

func TestDebeziumOptionsAreChecked(t *testing.T) {
	for _, o := range []DebeziumOptions{
		{DecimalHandlingMode: "exact"}, {TimePrecisionMode: "seconds"}, {IntervalHandlingMode: "text"},
		{BinaryHandlingMode: "raw"}, {HstoreHandlingMode: "object"}, {UnavailableValuePlaceholder: "hex:00"},
		{SkippedOperations: "c"},
	} {
		if _, err := New("debezium", Options{Debezium: &o}); err == nil || !strings.Contains(err.Error(), "debezium.") {
			t.Errorf("%+v gives %v", o, err)
		}
	}
	if _, err := New("native", Options{Debezium: &DebeziumOptions{}}); err == nil {
		t.Error("settings of one format were taken for another")
	}
	for _, format := range []string{"native", "flat", "debezium"} {
		if _, err := New(format, Options{}); err != nil {
			t.Error(err)
		}
	}
}

// TestDebeziumAllocates proves P6 for the hot path: nothing per event.
func TestDebeziumAllocates(t *testing.T) {
	for name, o := range map[string]DebeziumOptions{
		"default": {},
		"text": {DecimalHandlingMode: "string", TimePrecisionMode: "isostring", BinaryHandlingMode: "hex",
			IncludeUnknownDatatypes: true, ProvideTransactionMetadata: true},
		"double": {DecimalHandlingMode: "double", TimePrecisionMode: "connect"},
	} {
		t.Run(name, func(t *testing.T) { checkAllocations(t, newDebezium(t, o), stockEvents()) })
	}
}

func checkAllocations(t *testing.T, enc Encoder, all []entrain.Event) {
	t.Helper()
	buf := make([]byte, 0, 64<<10)
	got := testing.AllocsPerRun(100, func() {
		buf = buf[:0]
		for i := range all {
			var err error
			if buf, err = enc.Append(buf, &all[i]); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for %d events", got, len(all))
	}
}
