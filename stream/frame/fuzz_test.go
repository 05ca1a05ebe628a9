package frame

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

// FuzzDecode: any bytes are an error or a message that can be made again with
// equal events, and the memory they take is bounded by their length.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var dec Decoder
		for _, msg := range [][]byte{b, sum(b)} {
			h, batch, err := dec.Decode(msg)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
					t.Fatalf("neither damaged nor of another version: %v", err)
				}
				continue
			}
			if over := batch.Bytes - 64*len(msg); over > 0 {
				t.Fatalf("%d bytes of memory for a message of %d", batch.Bytes, len(msg))
			}
			touch(batch)
			again, err := new(Encoder).Append(nil, h, batch.Events)
			if err != nil {
				t.Fatalf("what was decoded cannot be encoded: %v", err)
			}
			_, second, err := new(Decoder).Decode(again)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(batch.Events, second.Events); diff != "" {
				t.Fatalf("(-first +second)\n%s", diff)
			}
			batch.Free()
		}
	})
}

// touch reads every column, as a sink does.
func touch(b *entrain.Batch) (bytes int) {
	for i := range b.Events {
		e := &b.Events[i]
		for _, r := range []entrain.Row{e.Before, e.After} {
			for c := 0; r != nil && c < len(e.Table.Columns); c++ {
				v, _ := r.Column(c, len(e.Table.Columns))
				bytes += len(v)
			}
		}
	}
	return bytes
}

// TestCorpus keeps the committed corpus of FuzzDecode made of messages of this
// form: every event of the sample alone, all, and none.
func TestCorpus(t *testing.T) {
	h, events := sample()
	parts := [][]entrain.Event{nil, events}
	for i := range events {
		parts = append(parts, events[i:i+1])
	}
	for i, part := range parts {
		msg, err := new(Encoder).Append(nil, h, part)
		if err != nil {
			t.Fatal(err)
		}
		name, want := fmt.Sprintf("testdata/fuzz/FuzzDecode/message-%d", i), "go test fuzz v1\n[]byte("+strconv.Quote(string(msg))+")\n"
		if *update {
			if err := os.MkdirAll("testdata/fuzz/FuzzDecode", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is of another form (-update makes it anew): %v", name, err)
		}
	}
}

// batchOf returns a batch of small rows of about size bytes of rows, and how
// large its message is.
func batchOf(size int) []entrain.Event {
	_, s := sample()
	insert := s[1]
	columns := []entrain.Column{{Name: "id", Type: "int8", Modifier: -1, Key: true}, {Name: "a", Type: "int4", Modifier: -1},
		{Name: "b", Type: "text", Modifier: -1}, {Name: "c", Type: "timestamptz", Modifier: -1}}
	insert.Table = &entrain.Table{Schema: "public", Name: "small", Columns: columns}
	var events []entrain.Event
	for n := 0; n < size; {
		e := insert
		e.Ordinal = uint64(len(events) % 10)
		if e.Ordinal == 0 {
			tx := *e.Tx
			tx.Version += uint64(len(events))
			insert.Tx, e.Tx = &tx, &tx
		}
		e.After = row(strconv.Itoa(100000+len(events)), "42", "a small text of some length", "2026-11-22 20:00:00.123456+00")
		n += len(e.After)
		events = append(events, e)
	}
	return events
}

// TestAllocates proves that the cost of an event is no allocation (P6).
func TestAllocates(t *testing.T) {
	events := batchOf(1 << 16)
	var enc Encoder
	var dec Decoder
	msg, err := enc.Append(nil, Header{}, events)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(50, func() { msg, _ = enc.Append(msg[:0], Header{}, events) }); got > 0 {
		t.Errorf("%v allocations for encoding %d events", got, len(events))
	}
	got := testing.AllocsPerRun(50, func() {
		_, batch, err := dec.Decode(msg)
		if err != nil {
			t.Fatal(err)
		}
		batch.Free()
	})
	if got > 8 {
		t.Errorf("%v allocations for decoding %d events", got, len(events))
	}
}

func perEvent(b *testing.B, events int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
}

func BenchmarkEncode(b *testing.B) {
	events := batchOf(1 << 20)
	var enc Encoder
	var msg []byte
	b.ReportAllocs()
	for b.Loop() {
		msg, _ = enc.Append(msg[:0], Header{}, events)
	}
	b.SetBytes(int64(len(msg)))
	perEvent(b, len(events))
}

func BenchmarkDecode(b *testing.B) {
	events := batchOf(1 << 20)
	msg, err := new(Encoder).Append(nil, Header{}, events)
	if err != nil {
		b.Fatal(err)
	}
	var dec Decoder
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		_, batch, err := dec.Decode(msg)
		if err != nil {
			b.Fatal(err)
		}
		batch.Free()
	}
	perEvent(b, len(events))
}

// The bound that Decode's contract gives holds for the smallest event.
var _ [64*minEvent - unsafe.Sizeof(entrain.Event{}) - unsafe.Sizeof(entrain.Message{})]byte
