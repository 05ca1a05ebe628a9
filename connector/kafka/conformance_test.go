package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func asStop(err error, stop **entrain.Stop) bool { return errors.As(err, stop) }

// stableEnds are the offsets behind the last decided record of each partition
// that has any.
func stableEnds(t testing.TB, address, topic string) map[int32]int64 {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends := map[int32]int64{}
	pgtest.Eventually(t, time.Minute, "the ends of "+topic, func() bool {
		clear(ends)
		list, err := kadm.NewClient(c).ListCommittedOffsets(t.Context(), topic)
		list.Each(func(o kadm.ListedOffset) {
			if err = errors.Join(err, o.Err); o.Offset > 0 {
				ends[o.Partition] = o.Offset
			}
		})
		return err == nil || errors.Is(err, kerr.UnknownTopicOrPartition)
	})
	return ends
}

// settle waits until the last transaction of a producer that was decided shows:
// the broker writes its markers after it answered.
func settle(t testing.TB, address, id string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pgtest.Eventually(t, time.Minute, "the marks of "+id, func() bool {
		list, err := kadm.NewClient(c).DescribeTransactions(t.Context(), id)
		told := list[id].Err == nil || errors.Is(list[id].Err, kerr.TransactionalIDNotFound)
		return err == nil && told && !strings.HasPrefix(list[id].State, "Prepare")
	})
}

func newTestSink(t testing.TB, address, id string, set func(*SinkConfig)) *Sink {
	t.Helper()
	cfg := SinkConfig{Brokers: []string{address}, TransactionalID: id, Topic: id + ".{schema}.{table}"}
	if set != nil {
		set(&cfg)
	}
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The sink keeps all contracts of one that stores the position with the data, as
// a consumer of committed records sees them (P1, P2, P3, P4).
func TestConformance(t *testing.T) {
	address := broker(t)
	var id string
	entraintest.TestSink(t, entraintest.SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			id = unique()
			return newTestSink(t, address, id, nil)
		},
		Rows: func(t testing.TB) entraintest.Rows {
			settle(t, address, id)
			return replay(t, address, id+".public.conformance")
		},
		Keeps:        entraintest.KeepsPosition,
		NoDoubles:    true,
		KeepsChanges: true,
	})
}

// Without transactions the sink keeps what is left of the contracts.
func TestConformanceAtLeastOnce(t *testing.T) {
	address := broker(t)
	var id string
	no := false
	entraintest.TestSink(t, entraintest.SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			id = unique()
			return newTestSink(t, address, id, func(c *SinkConfig) { c.ExactlyOnce = &no })
		},
		Rows:         func(t testing.TB) entraintest.Rows { return replay(t, address, id+".public.conformance") },
		Keeps:        entraintest.KeepsNothing,
		VisibleEarly: true,
		NoDoubles:    true,
		KeepsChanges: true,
	})
}

// line is the part of a native value that the replay needs.
type line struct {
	ID        string         `json:"id"`
	Op        string         `json:"op"`
	Before    map[string]any `json:"before"`
	After     map[string]any `json:"after"`
	Unchanged []string       `json:"unchanged"`
}

// replay makes rows of a topic as a consumer would, by a JSON parser that is not
// ours.
func replay(t testing.TB, address, topic string) entraintest.Rows {
	t.Helper()
	rows := entraintest.Rows{}
	for _, r := range records(t, address, topic) {
		if r.Value == nil {
			continue
		}
		l := readLine(t, r)
		e := l.event()
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s, offset %d: %s: %v", topic, r.Offset, l.Op, err)
		}
	}
	return rows
}

func readLine(t testing.TB, r *kgo.Record) line {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(r.Value))
	dec.UseNumber()
	var l line
	if err := dec.Decode(&l); err != nil {
		t.Fatalf("%s, offset %d: %v in %s", r.Topic, r.Offset, err, r.Value)
	}
	return l
}

func (l line) event() entrain.Event {
	table := entraintest.StandardTable()
	if l.Op == "truncate" {
		return entraintest.Truncate(table)
	}
	e := entrain.Event{Table: table, Before: l.row(l.Before), After: l.row(l.After)}
	e.Op = map[string]entrain.Op{"insert": entrain.OpInsert, "update": entrain.OpUpdate, "delete": entrain.OpDelete,
		"read": entrain.OpRead, "read_end": entrain.OpReadEnd}[l.Op]
	return e
}

// row returns nil for no image. What is neither there nor named as unchanged
// is part of an old image that was not logged.
func (l line) row(image map[string]any) entrain.Row {
	if image == nil {
		return nil
	}
	table := entraintest.StandardTable()
	cells := make([]entraintest.Cell, len(table.Columns))
	for i, c := range table.Columns {
		value, there := image[c.Name]
		switch {
		case !there || slices.Contains(l.Unchanged, c.Name):
			cells[i] = entraintest.Unchanged
		case value == nil:
			cells[i] = entraintest.Null
		default:
			cells[i] = entraintest.Text(fmt.Sprint(value))
		}
	}
	return entraintest.Row(table, cells...)
}
