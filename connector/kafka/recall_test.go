package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

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

// TestRecallOfAClockThatIsSetBack: what was written behind a mark is found, also if the
// clock was set back between the two: in the same process, or before its successor
// (CO-14; P2).
func TestRecallOfAClockThatIsSetBack(t *testing.T) {
	address, id := broker(t), unique()
	for i, ahead := range []time.Duration{time.Minute, 50 * time.Minute} {
		mark := strconv.AppendInt(nil, time.Now().Add(ahead).UnixMilli(), 10)
		w, r := openPlain(t, newTestSink(t, address, id, plainly))
		if err := r.Recall(t.Context(), mark, func(id []byte) { t.Errorf("found %s behind a mark behind which nothing was written", id) }); err != nil {
			t.Fatal(err)
		}
		write(t, w, batchOf(uint64(i+1), row("7")))
		if got := r.Mark(); string(got) < string(mark) {
			t.Errorf("the mark went back from %s to %s", mark, got)
		}
		_, again := openPlain(t, newTestSink(t, address, id, plainly))
		var found []string
		if err := again.Recall(t.Context(), mark, func(id []byte) { found = append(found, string(id)) }); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("shop/inc/%d/0", i+1); !slices.Contains(found, want) {
			t.Errorf("%s behind a clock that was set back: found %v; want %s", ahead, found, want)
		}
	}
}

// TestNotBefore: time stamps do not follow a clock that is set back by up to an hour;
// those of a clock that was wrong by years they leave.
func TestNotBefore(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ mark, want time.Time }{
		{now.Add(-time.Second), now}, {now, now}, {now.Add(time.Second), now.Add(time.Second)}, {now.Add(time.Hour), now.Add(time.Hour)},
		{now.Add(time.Hour + 1), now}, {now.AddDate(10, 0, 0), now}, {now.AddDate(-10, 0, 0), now}, {time.Time{}, now},
	} {
		if got := notBefore(c.mark, now); !got.Equal(c.want) {
			t.Errorf("mark %s: %s; want %s", c.mark, got, c.want)
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
