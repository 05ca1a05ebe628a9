package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// onMajors runs a test on a fresh database of each server version.
func onMajors(t *testing.T, test func(t *testing.T, url string)) {
	for _, major := range pgtest.Majors(t) {
		t.Run("pg"+strconv.Itoa(major), func(t *testing.T) {
			test(t, pgtest.CreateDatabase(t, pgtest.Shared(t, major)))
		})
	}
}

// feed is a source of batches for one sink session.
type feed struct {
	t   testing.TB
	url string
	w   *writer
	seq uint64 // transactions so far
}

func newFeed(t testing.TB, url string) *feed {
	t.Helper()
	f := &feed{t: t, url: url}
	f.open()
	return f
}

func testSink(t testing.TB, url string) *Sink {
	t.Helper()
	s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open begins a new session and takes the position over.
func (f *feed) open() entrain.Position {
	f.t.Helper()
	if f.w != nil {
		f.w.Close()
	}
	w, err := testSink(f.t, f.url).Open(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { w.Close() })
	f.w = w.(*writer)
	pos, err := f.w.Position(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return pos
}

func position(seq uint64) entrain.Position {
	return entrain.Position{Incarnation: "i1", Offset: strconv.FormatUint(seq, 10)}
}

// batch makes one batch of whole transactions.
func (f *feed) batch(transactions ...[]entrain.Event) *entrain.Batch {
	b := &entrain.Batch{}
	for _, events := range transactions {
		f.seq++
		b.Events = append(b.Events, numbered(f.seq, 0, events)...)
	}
	b.Through = position(f.seq)
	return b
}

func numbered(seq, from uint64, events []entrain.Event) []entrain.Event {
	tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "source", Incarnation: "i1"}, Version: seq}
	out := make([]entrain.Event, len(events))
	for i, e := range events {
		e.Tx, e.Ordinal = tx, from+uint64(i)
		out[i] = e
	}
	return out
}

// write applies whole transactions as one batch.
func (f *feed) write(transactions ...[]entrain.Event) {
	f.t.Helper()
	if err := f.w.Write(f.t.Context(), f.batch(transactions...)); err != nil {
		f.t.Fatal(err)
	}
}

// bulk is write, past the path for small batches.
func (f *feed) bulk(transactions ...[]entrain.Event) {
	f.t.Helper()
	if err := f.bulkErr(f.t.Context(), transactions...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *feed) bulkErr(ctx context.Context, transactions ...[]entrain.Event) error {
	err := f.w.writeBulk(ctx, f.batch(transactions...))
	f.w.planner.Reset()
	f.w.stepper.Reset()
	if err != nil {
		return f.w.fail(err)
	}
	return nil
}

func tx(events ...entrain.Event) []entrain.Event { return events }

// cells turns strings into cells; "∅" is NULL and "~" is unchanged.
func cells(values ...string) []entraintest.Cell {
	out := make([]entraintest.Cell, len(values))
	for i, v := range values {
		switch v {
		case "∅":
			out[i] = entraintest.Null
		case "~":
			out[i] = entraintest.Unchanged
		default:
			out[i] = entraintest.Text(v)
		}
	}
	return out
}

func ins(t *entrain.Table, values ...string) entrain.Event {
	return entraintest.Insert(t, cells(values...)...)
}

func upd(t *entrain.Table, values ...string) entrain.Event {
	return entraintest.Update(t, cells(values...)...)
}

func rekey(t *entrain.Table, old string, values ...string) entrain.Event {
	return entraintest.Rekey(t, []string{old}, cells(values...)...)
}

func del(t *entrain.Table, key ...string) entrain.Event { return entraintest.Delete(t, key...) }

func full(e entrain.Event, before ...string) entrain.Event {
	e.Before = entraintest.Row(e.Table, cells(before...)...)
	return e
}

// describe builds the source's view of a table that is at the target already,
// as if both sides had the same: its key is the primary key.
func describe(t testing.TB, url, schema, name string) *entrain.Table {
	t.Helper()
	rows := pgtest.Query(t, url, fmt.Sprintf(`SET search_path = pg_catalog; SELECT a.attname,
		CASE n.nspname WHEN 'pg_catalog' THEN ty.typname ELSE n.nspname || '.' || ty.typname END, a.atttypmod,
		coalesce(a.attnum = ANY (i.indkey::int2[]), false)
		FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid JOIN pg_namespace n ON n.oid = ty.typnamespace
		LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
		WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		ORDER BY a.attnum`, sqltext.Literal(sqltext.Table(schema, name))))
	table := &entrain.Table{Schema: schema, Name: name}
	for _, row := range rows {
		modifier, _ := strconv.Atoi(row[2])
		table.Columns = append(table.Columns, entrain.Column{
			Name: row[0], Type: row[1], Modifier: int32(modifier), Key: row[3] == "t"})
	}
	table.Version = table.Fingerprint()
	return table
}

// keyless returns the table as a source without a key sends it.
func keyless(t *entrain.Table) *entrain.Table {
	u := *t
	u.Columns = append([]entrain.Column(nil), t.Columns...)
	for i := range u.Columns {
		u.Columns[i].Key = true
	}
	u.FullIdentity = true
	u.Version = u.Fingerprint()
	return &u
}

// rowsOf returns the rows of a query, columns joined by "|".
func rowsOf(t testing.TB, url, sql string) string {
	t.Helper()
	var lines []string
	for _, row := range pgtest.Query(t, url, sql) {
		lines = append(lines, strings.Join(row, "|"))
	}
	return strings.Join(lines, "\n")
}

func wantRows(t testing.TB, url, sql, want string) {
	t.Helper()
	if got := rowsOf(t, url, sql); got != want {
		t.Fatalf("%s\ngot:\n%s\nwant:\n%s", sql, got, want)
	}
}

// wantStop returns the stop that err is, which must have the code.
func wantStop(t testing.TB, err error, code string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code {
		t.Fatalf("got %v, want a stop %q", err, code)
	}
	if entrain.IsRetryable(err) {
		t.Fatalf("stop %q is marked as retryable", code)
	}
	return stop
}

func truncate(tables ...*entrain.Table) entrain.Event {
	return entraintest.Truncate(tables...)
}
