package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/entrainsync/entrain"
)

// write copies through the writer, one table, or group of tied tables, after the other: each is one
// transaction, whose end makes it durable together with the ledger.
func (c *copying) write(ctx context.Context) error {
	for i := range c.tables {
		if !c.ledger.has(c.tables[i].Table) {
			if err := c.writeGroup(ctx, c.lacking(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// lacking are the table and those tied to it that have no rows yet, in order. They
// are written as one transaction, so that whoever has a part of them has all, of
// one moment.
func (c *copying) lacking(table int) []int {
	tied := []int{table}
	group := c.tables[table].Group
	for i := table + 1; group != 0 && i < len(c.tables); i++ {
		if c.tables[i].Group == group && !c.ledger.has(c.tables[i].Table) {
			tied = append(tied, i)
		}
	}
	return tied
}

// copyingOffset begins the position of a sink that keeps it and has a part of the
// tables. It is no place in the log, so that nobody without the ledger can go on
// from there; behind it are the tables that it came with, for a ledger that a crash
// has kept from knowing, or the digest of those that the ledger has as pending.
const (
	copyingOffset = "copying "
	digestMark    = "#"
	// largestNote is how long the tables may be in a position: streams have bounds
	// for it, and every message carries it.
	largestNote = 256
)

// groupThrough is the position behind the last of the tables that are written so
// far: none until all of the group are.
func (c *copying) groupThrough(ctx context.Context, tables []int, rows []int64) (entrain.Position, error) {
	if len(tables) < len(rows) {
		return entrain.Position{}, nil
	}
	if _, keeps := c.writer.(entrain.Positioner); !keeps {
		return c.through(), nil
	}
	var entries []CopiedTable
	for n, i := range tables {
		entries = append(entries, c.entry(c.tables[i].Table, rows[n]))
	}
	note, err := json.Marshal(entries)
	if err == nil && len(note) > largestNote {
		note, err = c.pend(ctx, entries)
	}
	return entrain.Position{Incarnation: c.point.Stream.Incarnation, Offset: copyingOffset + string(note)}, err
}

// pend writes the tables down before the position refers to them by what it returns.
func (c *copying) pend(ctx context.Context, entries []CopiedTable) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.ledger
	next.Pending = entries
	if err := c.store.SaveLedger(ctx, next, nil); err != nil {
		return nil, err
	}
	c.ledger = next
	return digest(entries)
}

// digest stands for tables in a position.
func digest(entries []CopiedTable) ([]byte, error) {
	text, err := json.Marshal(entries)
	sum := sha256.Sum256(text)
	return []byte(digestMark + hex.EncodeToString(sum[:])), err
}

// notedInPosition adds the tables to the ledger that the sink's position came
// with.
func (c *copying) notedInPosition() error {
	note, copying := strings.CutPrefix(c.from.Offset, copyingOffset)
	if !copying {
		return nil
	}
	var entries []CopiedTable
	if strings.HasPrefix(note, digestMark) {
		text, err := digest(c.ledger.Pending)
		if err != nil {
			return err
		}
		if string(text) == note { // else the ledger has them as finished
			entries = c.ledger.Pending
		}
	} else if err := json.Unmarshal([]byte(note), &entries); err != nil {
		return fmt.Errorf("the sink's position in the middle of a copy: %w", err)
	}
	for _, t := range entries {
		if t.Incarnation == c.ledger.Incarnation && c.ledger.find(t.Schema, t.Name) == nil {
			c.ledger.Tables = append(c.ledger.Tables, t)
		}
	}
	return nil
}

// writeGroup makes the tables where the sink makes tables, and gives them their
// rows. The last one's end makes all durable.
func (c *copying) writeGroup(ctx context.Context, tables []int) error {
	for _, i := range tables {
		t := &c.tables[i]
		err := c.p.makeTable(ctx, &entrain.ChunkTable{Table: t.Table, Rows: t.Rows, Group: t.Group, Definition: t.Definition})
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Table, err)
		}
	}
	rows := make([]int64, len(tables))
	for n, i := range tables {
		t := &c.tables[i]
		var err error
		if rows[n], err = c.writeTable(ctx, i); err != nil {
			return fmt.Errorf("table %s: %w", t.Table, err)
		}
		shaped, err := c.shape(t)
		if err != nil {
			return err
		}
		end := c.readEnd(shaped.Table, endOrdinal-1-uint64(i))
		if end.Through, err = c.groupThrough(ctx, tables[:n+1], rows); err != nil {
			return err
		}
		if err := c.writer.Write(c.work, end); err != nil {
			return fmt.Errorf("table %s: %w", t.Table, err)
		}
	}
	return c.finished(ctx, tables, rows)
}

// writeTable reads the parts of a table on several goroutines and writes what
// they bring.
func (c *copying) writeTable(ctx context.Context, table int) (int64, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	parts := make(chan int, c.tables[table].Parts)
	for n := range c.tables[table].Parts {
		parts <- n
	}
	close(parts)
	batches := make(chan *entrain.Batch)
	var wg sync.WaitGroup
	for range min(c.parallel(), c.tables[table].Parts) {
		wg.Go(func() {
			for n := range parts {
				if err := c.readPart(ctx, entrain.SnapshotPart{Table: table, Number: n}, batches); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(batches)
	}()
	var rows int64
	var failed error
	for b := range batches {
		if failed == nil {
			rows += int64(len(b.Events))
			failed = c.writer.Write(c.work, b)
		}
		free(b)
		if failed != nil {
			stop(failed)
		}
	}
	if failed == nil {
		failed = context.Cause(ctx)
	}
	return rows, failed
}

// readPart sends the batches of a part; who receives them frees them.
func (c *copying) readPart(ctx context.Context, part entrain.SnapshotPart, out chan<- *entrain.Batch) error {
	if err := c.p.initial.wait(ctx); err != nil {
		return err
	}
	rows, err := c.snap.Read(ctx, part)
	if err != nil {
		return err
	}
	defer closeQuietly(c.p, "part", rows)
	counted := &countedRows{RowReader: rows, p: c.p, table: part.Table}
	in := c.transformed(counted)
	for {
		b, err := in.Read(ctx)
		if err == io.EOF {
			c.p.copyingStored(part.Table, counted.rows, counted.rows)
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case out <- b:
		case <-ctx.Done():
			free(b)
			return context.Cause(ctx)
		}
	}
}
