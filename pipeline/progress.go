package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
)

// SnapshotStatus is the progress of copying existing rows.
type SnapshotStatus struct {
	// Done: every table has its rows.
	Done bool `json:"done"`
	// Held: no further part is begun until somebody says so.
	Held bool `json:"held,omitempty"`
	// Seconds since it began, in this run.
	Seconds float64 `json:"seconds"`
	// Rows read in this run, and about how many there are in all; -1 if nobody
	// knows.
	Rows     int64 `json:"rows"`
	Estimate int64 `json:"estimate"`
	// RowsPerSecond over the whole run; ETASeconds from it and the estimate, -1
	// if that cannot be told.
	RowsPerSecond float64               `json:"rows_per_second"`
	ETASeconds    float64               `json:"eta_seconds"`
	Tables        []SnapshotTableStatus `json:"tables"`
}

// SnapshotTableStatus is the progress of one table.
type SnapshotTableStatus struct {
	Table string `json:"table"`
	// State: waiting, copying or copied.
	State string `json:"state"`
	// Rows read so far and the estimate, -1 if there is none. For a table that
	// an earlier run copied, Rows is what it stored.
	Rows     int64 `json:"rows"`
	Estimate int64 `json:"estimate"`
	// Parts that are stored, of how many.
	Parts    int `json:"parts"`
	AllParts int `json:"all_parts"`
}

// progress follows the copying of rows. The zero value is one that has not
// begun.
type progress struct {
	mu     sync.Mutex
	began  time.Time
	ended  time.Time
	tables []*tableProgress
}

// tableProgress is one table's. Rows and parts change while others look.
type tableProgress struct {
	table    *entrain.Table
	estimate int64
	parts    int
	before   bool         // copied by an earlier run
	rows     atomic.Int64 // read
	stored   atomic.Int64 // parts
}

// watchCopying begins the progress of the tables and says it from time to time;
// it ends with the function that it returns.
func (p *Pipeline) watchCopying(ctx context.Context, tables []entrain.SnapshotTable, ledger *Ledger) (end func()) {
	p.progress.begin(tables, ledger, time.Now())
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(sayEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.progress.say(p.log, time.Now())
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		stop()
		wg.Wait()
		p.progress.end(time.Now())
		p.progress.say(p.log, time.Now())
	}
}

// sayEvery is how often the progress is logged.
const sayEvery = 10 * time.Second

func (g *progress) begin(tables []entrain.SnapshotTable, ledger *Ledger, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.began, g.ended, g.tables = now, time.Time{}, nil
	for i := range tables {
		t := &tableProgress{table: tables[i].Table, estimate: tables[i].Rows, parts: tables[i].Parts}
		if done := ledger.find(t.table.Schema, t.table.Name); done != nil {
			t.before = true
			t.rows.Store(done.Rows)
			t.stored.Store(int64(t.parts))
		}
		g.tables = append(g.tables, t)
	}
}

func (g *progress) end(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = now
}

func (g *progress) at(table int) *tableProgress {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tables[table]
}

// copyingRead notes that rows of a table were read.
func (p *Pipeline) copyingRead(table int, rows int64) { p.progress.at(table).rows.Add(rows) }

// copyingStored notes that a part is stored, of which the given number of rows
// was noted as read before.
func (p *Pipeline) copyingStored(table int, noted, rows int64) {
	t := p.progress.at(table)
	t.rows.Add(max(0, rows-noted))
	t.stored.Add(1)
}

// status returns the progress now, nil if nothing has begun.
func (g *progress) status(now time.Time) *SnapshotStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.began.IsZero() {
		return nil
	}
	if !g.ended.IsZero() {
		now = g.ended
	}
	st := &SnapshotStatus{Done: true, Seconds: now.Sub(g.began).Seconds(), ETASeconds: -1}
	var left int64
	for _, t := range g.tables {
		one := t.status()
		st.Tables = append(st.Tables, one)
		st.Done = st.Done && one.State == "copied"
		if !t.before {
			st.Rows += one.Rows
		}
		if one.Estimate < 0 {
			st.Estimate = -1
		}
		if st.Estimate >= 0 {
			st.Estimate += max(one.Estimate, one.Rows)
			left += max(0, one.Estimate-one.Rows)
		}
	}
	if st.Seconds > 0 {
		st.RowsPerSecond = float64(st.Rows) / st.Seconds
	}
	if st.Estimate >= 0 && st.RowsPerSecond > 0 {
		st.ETASeconds = float64(left) / st.RowsPerSecond
	}
	return st
}

func (t *tableProgress) status() SnapshotTableStatus {
	st := SnapshotTableStatus{
		Table: t.table.String(), State: "waiting", Rows: t.rows.Load(), Estimate: t.estimate,
		Parts: int(t.stored.Load()), AllParts: t.parts,
	}
	switch {
	case st.Parts == t.parts:
		st.State, st.Estimate = "copied", st.Rows
	case st.Rows > 0 || st.Parts > 0:
		st.State = "copying"
	}
	return st
}

func (g *progress) say(log *slog.Logger, now time.Time) {
	st := g.status(now)
	copied := 0
	for _, t := range st.Tables {
		if t.State == "copied" {
			copied++
		}
	}
	attrs := []any{"tables", len(st.Tables), "copied", copied, "rows", st.Rows, "rows_per_second", int64(st.RowsPerSecond)}
	if st.ETASeconds >= 0 && !st.Done {
		attrs = append(attrs, "eta", (time.Duration(st.ETASeconds) * time.Second).String())
	}
	log.Info("existing rows", attrs...)
}
