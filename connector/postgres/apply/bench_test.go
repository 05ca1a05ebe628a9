package apply

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const (
	benchTable      = `CREATE TABLE bench (id int8 PRIMARY KEY, customer int4 NOT NULL, status text, note text, at timestamptz)`
	benchBatchBytes = 4 << 20
)

// benchBatches makes batches of about 4 MB from what event makes for one
// number, perTx events a transaction.
func benchBatches(n int, perTx int, event func(b *entrain.RowBuilder, buf []byte, i int) (entrain.Event, []byte)) []*entrain.Batch {
	stream := &entrain.Stream{Source: "source", Incarnation: "i1"}
	var batches []*entrain.Batch
	b := &entrain.Batch{}
	var builder entrain.RowBuilder
	buf := make([]byte, 0, benchBatchBytes)
	var current *entrain.Transaction
	for i := range n {
		if i%perTx == 0 {
			current = &entrain.Transaction{Stream: stream, Version: uint64(i + 1)}
		}
		var e entrain.Event
		e, buf = event(&builder, buf, i)
		e.Tx, e.Ordinal = current, uint64(i%perTx)
		b.Events = append(b.Events, e)
		if len(buf) < benchBatchBytes*9/10 && i < n-1 {
			continue
		}
		if (i+1)%perTx == 0 {
			b.Through = position(uint64(i + 1))
		}
		batches = append(batches, b)
		b, buf = &entrain.Batch{}, make([]byte, 0, benchBatchBytes)
	}
	return batches
}

func benchRow(b *entrain.RowBuilder, buf []byte, id, n int) (entrain.Row, []byte) {
	var scratch [20]byte
	b.Begin(buf, 5)
	b.Value(strconv.AppendInt(scratch[:0], int64(id), 10))
	b.Value(strconv.AppendInt(scratch[:0], int64(id%1000), 10))
	b.Value([]byte("status"))
	b.Value([]byte(fmt.Sprintf("note %d of a row that is about as long as such rows are", n)))
	b.Value([]byte("2026-11-22 20:20:20.123456+00"))
	return b.End()
}

// runBench runs without the version gate, then with it.
func runBench(b *testing.B, setup string, batches func(t *entrain.Table) []*entrain.Batch) {
	b.Run("plain", func(b *testing.B) { runBenchOf(b, setup, batches, newFeed) })
	b.Run("gated", func(b *testing.B) { runBenchOf(b, setup, batches, gatedFeed) })
}

func gatedFeed(t testing.TB, url string) *feed { return newGateFeed(t, url, Config{}).feed }

func runBenchOf(b *testing.B, setup string, batches func(t *entrain.Table) []*entrain.Batch, open func(testing.TB, string) *feed) {
	srv := pgtest.Shared(b, 15)
	events := 0
	var spent time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		url := pgtest.CreateDatabase(b, srv)
		pgtest.Exec(b, url, benchTable)
		if setup != "" {
			pgtest.Exec(b, url, setup)
		}
		work := batches(describe(b, url, "public", "bench"))
		f := open(b, url)
		b.StartTimer()
		start := time.Now()
		for _, batch := range work {
			if err := f.w.Write(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			events += len(batch.Events)
		}
		spent += time.Since(start)
		f.w.Close()
	}
	b.ReportMetric(float64(events)/spent.Seconds(), "events/s")
}

// BenchmarkSinkMixed is 200,000 times an insert and an update of another row,
// each a transaction of its own.
func BenchmarkSinkMixed(b *testing.B) {
	const rows = 200_000
	setup := fmt.Sprintf(`INSERT INTO bench SELECT i, i %% 1000, 'new', 'note', now() FROM generate_series(1, %d) i; ANALYZE bench`, rows)
	runBench(b, setup, func(t *entrain.Table) []*entrain.Batch {
		return benchBatches(2*rows, 1, func(rb *entrain.RowBuilder, buf []byte, i int) (entrain.Event, []byte) {
			e := entrain.Event{Op: entrain.OpInsert, Table: t}
			id := rows + 1 + i/2
			if i%2 == 1 {
				e.Op = entrain.OpUpdate
				id = 1 + (i/2*7919)%rows
			}
			e.After, buf = benchRow(rb, buf, id, i)
			return e, buf
		})
	})
}

// BenchmarkSinkOneTransaction is a million inserts in one transaction.
func BenchmarkSinkOneTransaction(b *testing.B) {
	const rows = 1_000_000
	runBench(b, "", func(t *entrain.Table) []*entrain.Batch {
		return benchBatches(rows, rows, func(rb *entrain.RowBuilder, buf []byte, i int) (entrain.Event, []byte) {
			e := entrain.Event{Op: entrain.OpInsert, Table: t}
			e.After, buf = benchRow(rb, buf, i+1, i)
			return e, buf
		})
	})
}

// BenchmarkSinkTip is a transaction of one row, as when nothing is behind.
func BenchmarkSinkTip(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchTip(b, newFeed) })
	b.Run("gated", func(b *testing.B) { benchTip(b, gatedFeed) })
}

func benchTip(b *testing.B, open func(testing.TB, string) *feed) {
	srv := pgtest.Shared(b, 15)
	url := pgtest.CreateDatabase(b, srv)
	pgtest.Exec(b, url, benchTable)
	t := describe(b, url, "public", "bench")
	f := open(b, url)
	b.ReportAllocs()
	var rb entrain.RowBuilder
	var buf []byte
	i := 0
	for b.Loop() {
		i++
		e := entrain.Event{Op: entrain.OpInsert, Table: t}
		e.After, buf = benchRow(&rb, buf[:0], i, i)
		f.write(tx(e))
	}
}

// BenchmarkSinkTipFloor is the least that a transaction with a position costs:
// two prepared statements in one round trip, with nothing checked.
func BenchmarkSinkTipFloor(b *testing.B) {
	srv := pgtest.Shared(b, 15)
	url := pgtest.CreateDatabase(b, srv)
	pgtest.Exec(b, url, benchTable, `CREATE TABLE at (id int4 PRIMARY KEY, position text)`, `INSERT INTO at VALUES (1, '')`)
	conn := pgtest.Connect(b, url)
	for name, sql := range map[string]string{
		"move": `UPDATE at SET position = $1 WHERE id = 1`,
		"row":  `INSERT INTO bench VALUES ($1, 1, 'status', $2, '2026-11-22 20:20:20.123456+00')`,
	} {
		if _, err := conn.Prepare(b.Context(), name, sql, nil); err != nil {
			b.Fatal(err)
		}
	}
	note := []byte("note 1234 of a row that is about as long as such rows are")
	i := 0
	for b.Loop() {
		i++
		id := strconv.AppendInt(nil, int64(i), 10)
		p := conn.StartPipeline(b.Context())
		p.SendQueryPrepared("move", [][]byte{id}, nil, nil)
		p.SendQueryPrepared("row", [][]byte{id, note}, nil, nil)
		if err := p.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
