package snapshot_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// chunks opens a session that ends with the test.
func chunks(t testing.TB, src *postgres.Source) entrain.ChunkSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := src.Chunks(ctx)
	if err != nil {
		t.Fatalf("chunks: %v", err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return s
}

// chunkTable finds a table by its name.
func chunkTable(t testing.TB, s entrain.ChunkSession, name string) entrain.ChunkTable {
	t.Helper()
	tables, err := s.Tables(t.Context())
	if err != nil {
		t.Fatalf("tables: %v", err)
	}
	i := slices.IndexFunc(tables, func(ct entrain.ChunkTable) bool { return ct.Table.String() == name })
	if i < 0 {
		t.Fatalf("no table %s in %+v", name, tables)
	}
	return tables[i]
}

// readChunk reads one chunk; an error ends the test.
func readChunk(t testing.TB, s entrain.ChunkSession, q entrain.ChunkQuery) *entrain.Chunk {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := s.Read(ctx, q)
	if err != nil {
		t.Fatalf("read %s: %v", q.Table, err)
	}
	if c.Reached == nil || c.Version == 0 || c.View.Max == 0 {
		t.Fatalf("a chunk of %s lacks its place: %+v", q.Table, c)
	}
	return c
}

// chunkError reads a chunk that must fail.
func chunkError(t testing.TB, s entrain.ChunkSession, q entrain.ChunkQuery) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := s.Read(ctx, q)
	if err == nil {
		t.Fatalf("read %d rows of %s", len(c.Rows), q.Table)
	}
	return err
}

// rowTexts are a row's values.
func rowTexts(table *entrain.Table, row entrain.Row) []string {
	return values(&entrain.Event{Table: table}, row, nil)
}

// byChunks reads a whole table, so many rows a chunk, in order.
func byChunks(t testing.TB, s entrain.ChunkSession, table *entrain.Table, rows int) [][]string {
	t.Helper()
	var all [][]string
	q := entrain.ChunkQuery{Table: table, Rows: rows}
	for {
		c := readChunk(t, s, q)
		if c.Table.Version != table.Version || len(c.Rows) > rows {
			t.Fatalf("%d rows of %+v", len(c.Rows), c.Table)
		}
		for _, row := range c.Rows {
			all = append(all, rowTexts(table, row))
		}
		if !c.More {
			return all
		}
		if len(c.Rows) == 0 || c.Last == nil {
			t.Fatalf("there is more, but no row: %+v", c)
		}
		q.After = c.Last
	}
}

// keyTexts are the values of a row's key.
func keyTexts(table *entrain.Table, row []string) []string {
	var key []string
	for i, c := range table.Columns {
		if c.Key {
			key = append(key, row[i])
		}
	}
	return key
}

// lines are rows as texts, in an order that does not depend on a server.
func lines(rows [][]string) []string {
	var all []string
	for _, row := range rows {
		all = append(all, strings.Join(row, "\x00"))
	}
	slices.Sort(all)
	return all
}

// nextSQL is the SQL part of what a stop says to do next.
func nextSQL(stop *entrain.Stop) string {
	sql, _, _ := strings.Cut(stop.Next, "; --")
	return sql
}

// sessionsOf ends the sessions that read by key.
func endChunkSessions(t testing.TB, url string) {
	t.Helper()
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%_chunks'")
}
