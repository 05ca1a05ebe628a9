package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
)

var update = flag.Bool("update", false, "rewrite the golden files and the corpus")

// draw returns events with what only this form carries.
func draw(t *rapid.T) []entrain.Event {
	m := anyevent.NewMaker(t)
	for i, table := range m.Tables {
		if rapid.Bool().Draw(t, "shadow") {
			double := *table
			double.Shadow = true
			m.Tables[i] = &double
		}
	}
	events := make([]entrain.Event, rapid.IntRange(0, 12).Draw(t, "events"))
	for i := range events {
		e := m.Event(t)
		switch {
		case e.Op == entrain.OpMessage && rapid.Bool().Draw(t, "no content"):
			e.Message.Content = nil
		case e.Op == entrain.OpTruncate && rapid.Bool().Draw(t, "no tables"):
			e.Truncate.Tables = nil
		case e.Op == entrain.OpSchema && rapid.Bool().Draw(t, "only make"):
			list := rapid.SampledFrom([][]string{nil, {}, {"CREATE TABLE a ()", ""}})
			e.Schema = &entrain.SchemaChange{Make: &entrain.Definition{Dialect: "postgres", Before: list.Draw(t, "before"),
				Indexes: list.Draw(t, "indexes"), After: list.Draw(t, "after"), References: list.Draw(t, "references")}}
		case e.Op == entrain.OpSchema && rapid.Bool().Draw(t, "announced"):
			e.Table, e.Schema = nil, &entrain.SchemaChange{DDL: []entrain.DDL{{Tag: "DROP TABLE"}},
				Columns: []entrain.ColumnChange{{Kind: entrain.ColumnAdded, After: &entrain.Column{Name: "x", Modifier: -1}}}}
		}
		if !e.Tx.CommitTime.IsZero() {
			e.Tx.CommitTime = e.Tx.CommitTime.Add(time.Duration(rapid.IntRange(0, 999).Draw(t, "nanoseconds")))
		}
		events[i] = e
	}
	return events
}

// TestRoundTrip: what is decoded is what was encoded, over several messages of
// one encoder and decoder, and equal shapes are the same pointer.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var enc Encoder
		var dec Decoder
		tables := map[string]*entrain.Table{}
		for range rapid.IntRange(1, 3).Draw(t, "messages") {
			events := draw(t)
			h := Header{Begin: rapid.Uint64().Draw(t, "begin"),
				Through: entrain.Position{Incarnation: rapid.String().Draw(t, "incarnation"), Offset: rapid.String().Draw(t, "offset")}}
			prefix := []byte("prefix")
			out, err := enc.Append(prefix, h, events)
			if err != nil || !bytes.HasPrefix(out, prefix) {
				t.Fatal(err)
			}
			msg := out[len(prefix):]
			h.Events = len(events)
			if len(events) > 0 && !events[len(events)-1].Tx.CommitTime.IsZero() {
				h.Committed = events[len(events)-1].Tx.CommitTime.Truncate(time.Microsecond)
			}
			head, err := ReadHeader(msg)
			if err != nil || cmp.Diff(h, head) != "" {
				t.Fatalf("header: %v %s", err, cmp.Diff(h, head))
			}
			got, batch, err := dec.Decode(msg)
			if err != nil || cmp.Diff(h, got) != "" {
				t.Fatalf("%v %s", err, cmp.Diff(h, got))
			}
			if diff := cmp.Diff(events, append([]entrain.Event{}, batch.Events...)); diff != "" || !batch.Through.IsZero() {
				t.Fatalf("through %v, events (-want +got)\n%s", batch.Through, diff)
			}
			sameTables(t, tables, batch.Events)
			batch.Free()
		}
	})
}

func sameTables(t *rapid.T, tables map[string]*entrain.Table, events []entrain.Event) {
	for i := range events {
		table := events[i].Table
		if table == nil {
			continue
		}
		key := string(appendShape(nil, table))
		if tables[key] == nil {
			tables[key] = table
		}
		if tables[key] != table {
			t.Fatalf("%v is another pointer than before", table)
		}
	}
}

// TestParts: messages of limited size have all events together, and only the
// last one has the position.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := draw(t)
		limit := rapid.IntRange(1, 600).Draw(t, "limit")
		h := Header{Begin: 7, Through: entrain.Position{Incarnation: "a", Offset: "0/1@1"}}
		var enc Encoder
		var dec Decoder
		got, rest := []entrain.Event{}, events
		for {
			msg, n, err := enc.AppendSome(nil, h, rest, limit)
			if err != nil || n == 0 && len(rest) > 0 || n > 1 && len(msg) > limit {
				t.Fatalf("%d events in %d bytes, at most %d: %v", n, len(msg), limit, err)
			}
			head, batch, err := dec.Decode(msg)
			if err != nil || head.Begin != 7 || head.Through.IsZero() != (n < len(rest)) {
				t.Fatalf("%+v, %v", head, err)
			}
			got, rest = append(got, batch.Events...), rest[n:]
			if len(rest) == 0 {
				break
			}
		}
		if diff := cmp.Diff(events, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func row(values ...string) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, len(values))
	for _, v := range values {
		b.Value([]byte(v))
	}
	r, _ := b.End()
	return r
}

func sample() (Header, []entrain.Event) {
	orders := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true}, {Name: "total", Type: "numeric", Modifier: 655366, Kind: entrain.Decimal}}}
	orders.Version = orders.Fingerprint()
	tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "shop", Incarnation: "7-1", Database: "shop"}, ID: 743, Version: 24_094_528,
		CommitTime: time.Date(2026, 11, 22, 20, 0, 0, 123_456_000, time.UTC), Origin: "node_b"}
	own := *tx
	own.ID, own.Version = 744, 24_094_999
	fill := "0"
	return Header{Through: entrain.Position{Incarnation: "7-1", Offset: "0/16FA7C8@1"}, Begin: 41}, []entrain.Event{
		{Op: entrain.OpSchema, Ordinal: entrain.SchemaOrdinal(0, 0), Table: orders, Tx: tx, Schema: &entrain.SchemaChange{Before: orders,
			Columns: []entrain.ColumnChange{{Kind: entrain.ColumnAdded, After: &orders.Columns[1], Facts: &entrain.ColumnFacts{ID: 2, Name: "total", Fill: &fill}}},
			DDL:     []entrain.DDL{{Schema: "public", Table: "orders", ID: 16384, Tag: "ALTER TABLE", Object: "public.orders"}}}},
		{Op: entrain.OpInsert, Table: orders, Tx: tx, After: row("7", "19.90")},
		{Op: entrain.OpUpdate, Settling: true, Ordinal: 1, Table: orders, Tx: tx, Before: row("7", "19.90"), After: row("8", "19.90")},
		{Op: entrain.OpTruncate, Ordinal: 4, Tx: tx, Truncate: &entrain.Truncate{Tables: []*entrain.Table{orders}, Cascade: true}},
		{Op: entrain.OpMessage, Tx: &own, Message: &entrain.Message{Prefix: "app", Content: []byte("hello"), Transactional: true}},
	}
}

// TestGolden pins the bytes: docs/stream.md describes them.
func TestGolden(t *testing.T) {
	h, events := sample()
	msg, err := new(Encoder).Append(nil, h, events)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/frame.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(hex.Dump(msg)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), hex.Dump(msg)); diff != "" {
		t.Errorf("the form changed (-want +got):\n%s", diff)
	}
}

// TestDamage: a message of which any byte is another, or that is cut anywhere,
// is refused.
func TestDamage(t *testing.T) {
	h, events := sample()
	msg, err := new(Encoder).Append(nil, h, events)
	if err != nil {
		t.Fatal(err)
	}
	var dec Decoder
	refused := func(what string, at int, b []byte) {
		_, batch, err := dec.Decode(b)
		if batch != nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s at %d: %v", what, at, err)
		}
	}
	for i := range msg {
		refused("cut", i, msg[:i])
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(msg)
			bad[i] ^= bit
			refused("changed", i, bad)
			if i < len(msg)-sumBytes { // and with checksums that fit: an error or another message, but no panic
				dec.Decode(sum(bad))
			}
		}
	}
	newer := bytes.Clone(msg)
	newer[0] = Version + 1
	if _, err := ReadHeader(newer); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	newer[0], newer[atFlags] = Version, 1
	if _, err := ReadHeader(sum(newer)); !errors.Is(err, ErrVersion) {
		t.Errorf("an unknown flag: %v", err)
	}
}

// sum gives bytes the checksums that they would have as a message.
func sum(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < fixedHeader+2*sumBytes {
		return b
	}
	if n := int(binary.LittleEndian.Uint16(b[atLength:])); n >= fixedHeader+sumBytes && n <= len(b)-sumBytes {
		binary.LittleEndian.PutUint32(b[n-sumBytes:], crc32.Checksum(b[:n-sumBytes], castagnoli))
	}
	end := len(b) - sumBytes
	return binary.LittleEndian.AppendUint32(b[:end], crc32.Checksum(b[:end], castagnoli))
}

// TestRefused: what could not be read again is not written.
func TestRefused(t *testing.T) {
	_, events := sample()
	insert := events[1]
	cases := map[string]func(e *entrain.Event){
		"operation":     func(e *entrain.Event) { e.Op = 9 },
		"transaction":   func(e *entrain.Event) { e.Tx = nil },
		"stream":        func(e *entrain.Event) { e.Tx = &entrain.Transaction{} },
		"without a tab": func(e *entrain.Event) { e.Table = nil },
		"the row is":    func(e *entrain.Event) { e.After = row("one column") },
		"2 columns":     func(e *entrain.Event) { e.Before = entrain.Row{1, 2, 3} },
		"details":       func(e *entrain.Event) { e.Message = &entrain.Message{} },
		"or none":       func(e *entrain.Event) { e.Op = entrain.OpTruncate },
	}
	for want, spoil := range cases {
		e := insert
		spoil(&e)
		out, err := new(Encoder).Append([]byte("p"), Header{}, []entrain.Event{insert, e})
		if err == nil || !strings.Contains(err.Error(), want) || string(out) != "p" {
			t.Errorf("%s: %v, left %q", want, err, out)
		}
	}
	long := Header{Through: entrain.Position{Offset: strings.Repeat("x", math.MaxUint16)}}
	if out, err := new(Encoder).Append([]byte("p"), long, nil); err == nil || string(out) != "p" {
		t.Errorf("a position of 64 kB: %v", err)
	}
}

// TestLongerHeader: what a later version puts behind the header's fields is skipped.
func TestLongerHeader(t *testing.T) {
	h, events := sample()
	msg, err := new(Encoder).Append(nil, h, events)
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint16(msg[atLength:]))
	longer := append(append(bytes.Clone(msg[:n-sumBytes]), "further"...), msg[n-sumBytes:]...)
	binary.LittleEndian.PutUint16(longer[atLength:], uint16(n+len("further")))
	got, batch, err := new(Decoder).Decode(sum(longer))
	if err != nil || got.Through != h.Through || cmp.Diff(events, batch.Events) != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
