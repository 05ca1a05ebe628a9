package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// patience bounds what must happen on a real server.
const patience = 3 * time.Minute

// eachShared runs the test beside itself on the shared servers, each run in a
// database of its own.
func eachShared(t *testing.T, run func(t *testing.T, url string)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			t.Parallel()
			run(t, pgtest.CreateDatabase(t, pgtest.Shared(t, major)))
		})
	}
}

// sourceConfig is a source of a slot and publication of its own.
func sourceConfig(t testing.TB, url string) postgres.SourceConfig {
	name := pgtest.Name(t)
	return postgres.SourceConfig{
		URL: connector.Secret(pgtest.SourceURL(url)), Slot: name, Publication: "pub", Create: true, Pipeline: name,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func mustSource(t testing.TB, cfg postgres.SourceConfig) *postgres.Source {
	t.Helper()
	src, err := postgres.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func newSource(t testing.TB, url string) *postgres.Source {
	t.Helper()
	return mustSource(t, sourceConfig(t, url))
}

// take opens a snapshot that ends with the test.
func take(t testing.TB, src *postgres.Source, r entrain.SnapshotRequest) entrain.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := src.Snapshot(ctx, r)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// takeError opens a snapshot that must fail.
func takeError(t testing.TB, src *postgres.Source, r entrain.SnapshotRequest) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := src.Snapshot(ctx, r)
	if err == nil {
		s.Close()
		t.Fatal("the snapshot was opened")
	}
	return err
}

// index finds a table of a snapshot by its name.
func index(t testing.TB, s entrain.Snapshot, name string) int {
	t.Helper()
	i := slices.IndexFunc(s.Tables(), func(st entrain.SnapshotTable) bool { return st.Table.String() == name })
	if i < 0 {
		t.Fatalf("the snapshot has no table %s", name)
	}
	return i
}

// readPart hands each event of a part to take.
func readPart(t testing.TB, s entrain.Snapshot, p entrain.SnapshotPart, take func(e *entrain.Event)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := s.Read(ctx, p)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		b, err := r.Read(ctx)
		if errors.Is(err, io.EOF) {
			return r.Close()
		}
		if err != nil {
			return err
		}
		if !b.Through.IsZero() {
			t.Errorf("a batch of rows has the position %s", b.Through)
		}
		for i := range b.Events {
			take(&b.Events[i])
		}
		b.Free()
	}
}

// readTable hands each event of a table to take.
func readTable(t testing.TB, s entrain.Snapshot, table int, take func(e *entrain.Event)) error {
	t.Helper()
	for n := range s.Tables()[table].Parts {
		if err := readPart(t, s, entrain.SnapshotPart{Table: table, Number: n}, take); err != nil {
			return err
		}
	}
	return nil
}

// content is rows by table and key; the key is the first column.
type content map[string]map[string][]string

// values are a row's texts; those that the log left out are of before.
func values(e *entrain.Event, row entrain.Row, before []string) []string {
	n := len(e.Table.Columns)
	texts := make([]string, n)
	for i := range n {
		v, state := row.Column(i, n)
		switch {
		case state == entrain.Null:
			texts[i] = pgtest.Null
		case state == entrain.Unchanged && before != nil:
			texts[i] = before[i]
		default:
			texts[i] = string(v)
		}
	}
	return texts
}

// apply does what an event says.
func (c content) apply(t testing.TB, e *entrain.Event) {
	t.Helper()
	if e.Op == entrain.OpTruncate {
		for _, table := range e.Truncate.Tables {
			c[table.String()] = nil
		}
		return
	}
	name := e.Table.String()
	rows := c[name]
	if rows == nil {
		rows = map[string][]string{}
		c[name] = rows
	}
	var before []string
	if e.Op == entrain.OpUpdate {
		key := values(e, e.After, nil)[0]
		if e.Before != nil {
			key = values(e, e.Before, nil)[0]
		}
		before = rows[key]
		if before == nil {
			t.Errorf("update of %s %s, which is not there", name, key)
		}
		delete(rows, key)
	}
	switch e.Op {
	case entrain.OpDelete:
		key := values(e, e.Before, nil)[0]
		if rows[key] == nil {
			t.Errorf("delete of %s %s, which is not there", name, key)
		}
		delete(rows, key)
	case entrain.OpRead, entrain.OpInsert, entrain.OpUpdate:
		row := values(e, e.After, before)
		if rows[row[0]] != nil {
			t.Errorf("%s of %s %s, which is there", e.Op, name, row[0])
		}
		rows[row[0]] = row
	}
}

// copied reads all tables of a snapshot and checks its events.
func copied(t testing.TB, s entrain.Snapshot) content {
	t.Helper()
	c := content{}
	ids := map[uint64]bool{}
	for i := range s.Tables() {
		err := readTable(t, s, i, func(e *entrain.Event) {
			if e.Op != entrain.OpRead || e.Tx.Version != s.Point().Version || e.Ordinal>>63 != 1 || ids[e.Ordinal] || e.Table != s.Tables()[i].Table {
				t.Errorf("unexpected event %s of %s %+v", e.ID(), e.Table, e.Tx)
			}
			ids[e.Ordinal] = true
			c.apply(t, e)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// follow applies what the stream has from the snapshot on until now.
func follow(t testing.TB, src *postgres.Source, point entrain.SnapshotPoint, c content) {
	t.Helper()
	for _, e := range streamed(t, src, point) {
		c.apply(t, &e)
	}
}

// streamed are the events behind a point of what is committed now.
func streamed(t testing.TB, src *postgres.Source, point entrain.SnapshotPoint) []entrain.Event {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := bounded.(entrain.Snapshotter); !ok {
		t.Error("a bounded source has no snapshots")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := bounded.Open(ctx, point.From)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var events []entrain.Event
	for {
		b, err := r.Read(ctx)
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events { // never freed: the rows stay
			if e.Tx.Version == point.Version {
				t.Errorf("a transaction has the snapshot's version: %s", e.ID())
			}
			if e.Tx.Version > point.Version {
				events = append(events, e)
			}
		}
	}
}

// stored is what a table has, printed as a source's sessions do.
func stored(t testing.TB, url, table, columns string) map[string][]string {
	t.Helper()
	rows := map[string][]string{}
	for _, row := range pgtest.Query(t, url, settingsSQL()+"SELECT "+columns+" FROM public."+table) {
		rows[row[0]] = row
	}
	return rows
}

// settingsSQL makes a session print values as a source's sessions do.
func settingsSQL() string {
	var sql strings.Builder
	for name, value := range dial.SessionSettings() {
		fmt.Fprintf(&sql, "SET %s = '%s'; ", name, value)
	}
	return sql.String()
}

// equal compares rows by key.
func equal(t testing.TB, what string, got, want map[string][]string) {
	t.Helper()
	if maps.EqualFunc(got, want, slices.Equal) {
		return
	}
	shown := 0
	for key := range want {
		if !slices.Equal(got[key], want[key]) && shown < 5 {
			t.Errorf("%s: row %s is %.200q, want %.200q", what, key, got[key], want[key])
			shown++
		}
	}
	t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
}

// majorOf is the version of the server.
func majorOf(t testing.TB, url string) int {
	t.Helper()
	major, err := strconv.Atoi(pgtest.QueryOne(t, url, "SELECT current_setting('server_version_num')::int / 10000"))
	if err != nil {
		t.Fatal(err)
	}
	return major
}
