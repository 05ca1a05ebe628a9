package apply

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// worker delivers one part of a stream by a sink of its own, as one process of
// several does, and begins anew after an error that asks for it.
type worker struct {
	sink  *Sink
	w     entrain.Writer
	seq   uint64
	fails *atomic.Int64
}

func (k *worker) open(t *testing.T) error {
	w, err := k.sink.Open(t.Context())
	if err != nil {
		return err
	}
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		return err
	}
	k.w, k.seq = w, 0
	if !at.IsZero() {
		k.seq, err = strconv.ParseUint(at.Offset, 10, 64)
	}
	return err
}

// deliver writes the n transactions that events makes.
func (k *worker) deliver(t *testing.T, n uint64, events func(seq uint64) []entrain.Event) error {
	for k.w == nil || k.seq < n {
		if k.w == nil {
			if err := k.open(t); err != nil {
				return err
			}
			continue
		}
		err := k.w.Write(t.Context(), &entrain.Batch{Events: numbered(k.seq+1, 0, events(k.seq+1)), Through: position(k.seq + 1)})
		switch {
		case err == nil:
			k.seq++
			continue
		case dial.SQLState(err) != stateDeadlock || !entrain.IsRetryable(err):
			return err
		}
		k.fails.Add(1)
		k.w.Close()
		k.w = nil
	}
	return k.w.Close()
}

// TestWorkersInTurn: workers whose rows have no key in common, but a trigger's
// counters, which each meets in another order, get on: a deadlock makes them
// apply in turn, so that not every batch ends in one (P9).
func TestWorkersInTurn(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE TABLE counter (slot int PRIMARY KEY, n int NOT NULL)`,
			`INSERT INTO counter SELECT i, 0 FROM generate_series(0, 39) i`,
			`CREATE FUNCTION count_slot() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN UPDATE public.counter SET n = n + 1 WHERE slot = NEW.n; PERFORM pg_sleep(0.001); RETURN NULL; END $$`,
			`CREATE TRIGGER count_slot AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION count_slot()`,
			`ALTER TABLE orders ENABLE ALWAYS TRIGGER count_slot`,
			`ALTER DATABASE `+rowsOf(t, url, `SELECT current_database()`)+` SET deadlock_timeout = '10ms'`)
		o := describe(t, url, "public", "orders")
		const batches, rows = 20, 40
		var fails atomic.Int64
		var all sync.WaitGroup
		for part := range 2 {
			sink, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "test", Source: fmt.Sprint("part", part)})
			if err != nil {
				t.Fatal(err)
			}
			k := &worker{sink: sink, fails: &fails}
			all.Go(func() {
				err := k.deliver(t, batches, func(seq uint64) []entrain.Event {
					events := make([]entrain.Event, rows)
					for i := range events {
						id := (int(seq)*rows+i)*2 + part
						slot := i
						if part == 1 {
							slot = rows - 1 - i
						}
						events[i] = ins(o, strconv.Itoa(id), "x", strconv.Itoa(slot))
					}
					return events
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		wantRows(t, url, `SELECT count(*), (SELECT min(n) || '..' || max(n) FROM counter) FROM orders`, fmt.Sprintf("%d|%[2]d..%[2]d", 2*batches*rows, 2*batches))
		if n := fails.Load(); n == 0 || n > batches {
			t.Errorf("%d deadlocks in %d batches; want some, and that they end", n, 2*batches)
		}
	})
}
