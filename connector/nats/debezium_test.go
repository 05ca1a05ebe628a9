package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/entraintest"
)

// debeziumConfig is a sink of the format debezium.
func debeziumConfig() SinkConfig {
	return SinkConfig{Format: debezium, Debezium: &encoding.DebeziumOptions{TopicPrefix: "shop"}}
}

// withTransactions has what a transaction begins and ends with, too.
func withTransactions() SinkConfig {
	cfg := debeziumConfig()
	cfg.Debezium.ProvideTransactionMetadata = true
	return cfg
}

// TestDebezium: what Debezium Server sends to NATS: a message for each record that has a
// value, its topic as the subject, headers as headers; also to a server without batches,
// where two messages of one event have two ids.
func TestDebezium(t *testing.T) {
	for _, older := range []bool{false, true} {
		at := newElsewhere(t)
		s := newSink(t, at, debeziumConfig())
		s.backend.withoutBatches = older
		w, _ := openSink(t, s)
		typed, text, null := *entraintest.StandardTable(), entraintest.Text, entraintest.Null
		typed.Columns = slices.Clone(typed.Columns)
		typed.Columns[0].Type = "int8" // the standard table's is of no type that Debezium knows
		table, dotted := &typed, typed
		dotted.Name = "a.b *."
		write(t, w, batchOf(1,
			entraintest.Insert(table, text("7"), null, null, null),
			entraintest.Rekey(table, []string{"7"}, text("8"), null, null, null),
			entraintest.Delete(table, "8"),
			entraintest.Message("audit", "who"),
			entraintest.Truncate(&dotted)))
		var got strings.Builder
		for _, m := range consumed(t, at, "shop.>") {
			var value struct{ Op string }
			if err := json.Unmarshal(m.Data(), &value); err != nil {
				t.Fatalf("%v in %s", err, m.Data())
			}
			h := m.Headers()
			fmt.Fprintf(&got, "%s %s %s %s new %s old %s\n", m.Subject(), h.Get(headerID), value.Op, h.Get(headerKey), h.Get("__debezium.newkey"), h.Get("__debezium.oldkey"))
		}
		want := `shop.public.conformance shop/inc/1/0 c {"id":7} new  old 
shop.public.conformance shop/inc/1/1 d {"id":7} new {"id":8} old 
shop.public.conformance shop/inc/1/1 c {"id":8} new  old {"id":7}
shop.public.conformance shop/inc/1/2 d {"id":8} new  old 
shop.message shop/inc/1/3 m {"prefix":"audit"} new  old 
shop.public.a.b__._ shop/inc/1/4 t  new  old 
`
		if got.String() != want {
			t.Errorf("older %t: got\n%swant\n%s", older, got.String(), want)
		}
	}
}

// TestDebeziumTransactions: the messages that a transaction begins and ends with are there
// once, and count what is there, though a process was killed in its middle.
func TestDebeziumTransactions(t *testing.T) {
	at := newElsewhere(t)
	s := newSink(t, at, withTransactions())
	w, _ := openSink(t, s)
	write(t, w, batchOf(1, inserts(1, 2)...))
	half := batchOf(2, inserts(3, 1500)...)
	half.Through = entrain.Position{}
	write(t, w, half)
	w.Close()
	w, _ = openSink(t, s)
	write(t, w, batchOf(2, inserts(3, 3000)...))
	both := batchOf(3, inserts(3003, 1)...)
	more := batchOf(4, inserts(3004, 2)...)
	both.Events, both.Through = append(both.Events, more.Events...), more.Through
	write(t, w, both)
	got := boundaries(t, at)
	if want := "[BEGIN 0 of 0 END 2 of 2 BEGIN 0 of 0 END 3000 of 3000 BEGIN 0 of 0 END 1 of 1 BEGIN 0 of 0 END 2 of 2]"; fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
}

// boundaries are the beginnings and ends of transactions that a consumer sees, with the
// rows between them, whose numbers it looks at.
func boundaries(t *testing.T, at *elsewhere) []string {
	t.Helper()
	var got []string
	rows := 0
	for _, m := range consumed(t, at, "shop.>") {
		var value struct {
			Status      string
			EventCount  int `json:"event_count"`
			Transaction struct {
				Order int `json:"total_order"`
			}
		}
		if err := json.Unmarshal(m.Data(), &value); err != nil {
			t.Fatal(err)
		}
		if value.Status == "" {
			if rows++; value.Transaction.Order != rows {
				t.Fatalf("row %d has the number %d", rows, value.Transaction.Order)
			}
			continue
		}
		if op := m.Headers().Get(headerOp); op != strings.ToLower(value.Status) {
			t.Errorf("%s has the header %s", value.Status, op)
		}
		got = append(got, fmt.Sprintf("%s %d of %d", value.Status, rows, value.EventCount))
		if value.Status == "END" {
			rows = 0
		}
	}
	return got
}

// TestRunComesInParts: a run of transactions of which a part was written before a crash
// comes again in smaller parts, each with a position: all are there once (P2), and so are
// the messages between them.
func TestRunComesInParts(t *testing.T) {
	const most, rows = 12, 100
	for format, cfg := range map[string]SinkConfig{"native": {}, "debezium": withTransactions()} {
		t.Run(format, func(t *testing.T) {
			at := newElsewhere(t)
			s := newSink(t, at, cfg)
			w, _ := openSink(t, s)
			run := &entrain.Batch{}
			for v := 1; v <= most; v++ {
				run.Events = append(run.Events, batchOf(uint64(v), inserts(v*rows, rows)...).Events...)
			}
			write(t, w, run)
			w.Close()
			for v := 1; v <= most; v++ { // each by a session of its own
				w, _ := openSink(t, s)
				write(t, w, batchOf(uint64(v), inserts(v*rows, rows)...))
				w.Close()
			}
			var want []string
			for range most {
				want = append(want, "BEGIN 0 of 0", fmt.Sprintf("END %d of %d", rows, rows))
			}
			if format == "debezium" {
				if got := boundaries(t, at); !slices.Equal(got, want) {
					t.Errorf("got %v", got)
				}
				return
			}
			if got := len(consumed(t, at, "changes.>")); got != most*rows {
				t.Errorf("%d messages; want %d", got, most*rows)
			}
		})
	}
}

// TestComesAgain: a server without batches drops what comes again after a crash between
// the messages and the position, of all formats, and nothing else.
func TestComesAgain(t *testing.T) {
	for format, cfg := range map[string]SinkConfig{"native": {}, "flat": {Format: "flat", Subject: "changes.{schema}"}, "debezium": withTransactions()} {
		t.Run(format, func(t *testing.T) { testComesAgain(t, newElsewhere(t), cfg) })
		t.Run(format+" on an older server", func(t *testing.T) { testComesAgain(t, newOlder(t), cfg) })
	}
}

func testComesAgain(t *testing.T, at *elsewhere, cfg SinkConfig) {
	s := newSink(t, at, cfg)
	s.backend.withoutBatches = true
	table, text, null := entraintest.StandardTable(), entraintest.Text, entraintest.Null
	other := *table
	other.Name = "other"
	events := func() []entrain.Event {
		return append(inserts(1, 20), entraintest.Rekey(table, []string{"7"}, text("80"), null, null, null), entraintest.Delete(table, "80"),
			entraintest.Truncate(table, &other))
	}
	w, _ := openSink(t, s)
	write(t, w, batchOf(1, events()...))
	all := consumed(t, at, ">")
	w.number++ // so that the position is refused behind the messages
	if err := w.Write(t.Context(), batchOf(2, events()...)); err == nil || errors.Is(err, errClosed) {
		t.Fatalf("it is written: %v", err)
	}
	if torn := consumed(t, at, ">"); len(torn) != 2*len(all)-1 { // the position
		t.Fatalf("%d messages, %d before", len(torn), len(all))
	}
	w, from := openSink(t, s)
	if from.Offset != "1" {
		t.Fatalf("the position is %v", from)
	}
	write(t, w, batchOf(2, events()...))
	if again := consumed(t, at, ">"); len(again) != 2*len(all)-1 { // older positions are gone
		t.Errorf("%d messages, want %d", len(again), 2*len(all)-1)
	}
}
