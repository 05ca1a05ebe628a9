package kafka

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

func plainly(c *SinkConfig) {
	no := false
	c.ExactlyOnce, c.Partitions = &no, 3
}

func openPlain(t *testing.T, s *Sink) (entrain.Writer, entrain.Recaller) {
	t.Helper()
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, w.(entrain.Recaller)
}

// TestRecall: a new writer reads back what one before it wrote behind its mark, in all
// partitions and topics; not those changes of which it cannot tell that all is there.
func TestRecall(t *testing.T) {
	address, id := broker(t), unique()
	w, r := openPlain(t, newTestSink(t, address, id, plainly))
	mark := r.Mark()
	recalled := func() (ids []string) {
		_, again := openPlain(t, newTestSink(t, address, id, plainly))
		if err := again.Recall(t.Context(), mark, func(id []byte) { ids = append(ids, string(id)) }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	if got := recalled(); len(got) > 0 {
		t.Errorf("recalled from nothing: %v", got)
	}
	table, text, null := entraintest.StandardTable(), entraintest.Text, entraintest.Null
	other := *table
	other.Name = "other"
	other.Version = other.Fingerprint()
	write(t, w, batchOf(1, row("7"), row("8"), row("9"), row("10")),
		batchOf(2, entraintest.Update(table, text("7"), null, text("b"), text("1.5")),
			entraintest.Rekey(table, []string{"7"}, text("70"), null, text("body"), null),
			entraintest.Delete(table, "9"), entraintest.Truncate(table),
			entraintest.Insert(&other, text("1"), null, null, null)))
	want := []string{"shop/inc/1/0", "shop/inc/1/1", "shop/inc/1/2", "shop/inc/1/3", "shop/inc/2/0", "shop/inc/2/2", "shop/inc/2/4"}
	if got := recalled(); !slices.Equal(got, want) {
		t.Errorf("recalled %v, want %v", got, want)
	}
	// Who was a writer with transactions, or has another format, cannot tell.
	_, other2 := openPlain(t, newTestSink(t, address, id, func(c *SinkConfig) { plainly(c); c.Format = "cloudevents" }))
	for _, mark := range [][]byte{mark, []byte("0/16B3748")} {
		if err := other2.Recall(t.Context(), mark, nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", mark, err)
		}
	}
}

// TestWhole: a delete is there with its tombstone only, and halves never are.
func TestWhole(t *testing.T) {
	record := func(op string, value []byte, more ...string) *kgo.Record {
		r := &kgo.Record{Key: []byte("{}"), Value: value, Headers: []kgo.RecordHeader{{Key: headerID, Value: []byte("s/i/1/0")}, {Key: headerOp, Value: []byte(op)}}}
		for _, h := range more {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h})
		}
		return r
	}
	some := []byte("{}")
	keyless := record("delete", some)
	keyless.Key = nil
	for _, c := range []struct {
		r         *kgo.Record
		with, not bool // with tombstones, and without
	}{
		{record("insert", some), true, true}, {record("update", some), true, true}, {record("message", some), true, true},
		{record("delete", some), false, true}, {record("delete", nil), true, true}, {keyless, true, true},
		{record("truncate", some), false, false}, {record("read", some), false, false}, {&kgo.Record{Value: some}, false, false},
		{record("insert", some, headerOldKey), false, false}, {record("delete", nil, headerNewKey), false, false},
	} {
		with, not := (&shape{tombstones: true}).whole(c.r) != nil, (&shape{}).whole(c.r) != nil
		if with != c.with || not != c.not {
			t.Errorf("%v: %t and %t, want %t and %t", c.r.Headers, with, not, c.with, c.not)
		}
	}
}
