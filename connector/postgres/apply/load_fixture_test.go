package apply

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/entraintest"
)

// rowBatches delivers rows in batches of a few, and counts those it got back.
type rowBatches struct {
	table *entrain.Table
	rows  [][]string
	fault error // after the rows; io.EOF if nil
	out   int   // batches that were not freed
}

func (r *rowBatches) Read(context.Context) (*entrain.Batch, error) {
	const size = 3
	if len(r.rows) == 0 {
		if r.fault != nil {
			return nil, r.fault
		}
		return nil, io.EOF
	}
	n := min(size, len(r.rows))
	b := &entrain.Batch{Free: func() { r.out-- }}
	r.out++
	var events []entrain.Event
	for _, row := range r.rows[:n] {
		events = append(events, readRow(r.table, row...))
	}
	b.Events = numbered(7, 0, events)
	r.rows = r.rows[n:]
	return b, nil
}

func (r *rowBatches) Close() error { return nil }

func readRow(t *entrain.Table, values ...string) entrain.Event {
	return entrain.Event{Op: entrain.OpRead, Table: t, After: entraintest.Row(t, cells(values...)...)}
}

// copyTextRows delivers COPY text alone.
type copyTextRows struct {
	text  string
	rows  int64
	fault error
}

func (r *copyTextRows) Read(context.Context) (*entrain.Batch, error) {
	return nil, errors.New("Read was called although there is CopyText")
}
func (r *copyTextRows) Close() error { return nil }
func (r *copyTextRows) CopyText(_ context.Context, w io.Writer) (int64, error) {
	for line := range bytes.Lines([]byte(r.text)) {
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
	}
	return r.rows, r.fault
}

// loadTest is a sink whose position a writer has taken over.
type loadTest struct {
	t    testing.TB
	url  string
	sink *Sink
}

func newLoadTest(t testing.TB, url string) *loadTest {
	t.Helper()
	s := testSink(t, url)
	takeOverFor(t, s)
	return &loadTest{t: t, url: url, sink: s}
}

// takeOverFor opens a writer of the sink and takes the position over.
func takeOverFor(t testing.TB, s *Sink) *writer {
	t.Helper()
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := w.(*writer).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.(*writer)
}

func snapshotOf(t *entrain.Table) entrain.SnapshotTable {
	return entrain.SnapshotTable{Table: t, Rows: -1, Parts: 1}
}

// load begins a load that ends with the test.
func (lt *loadTest) load(t *entrain.Table) *tableLoad {
	lt.t.Helper()
	l, err := lt.sink.Load(lt.t.Context(), snapshotOf(t))
	if err != nil {
		lt.t.Fatal(err)
	}
	lt.t.Cleanup(func() { l.Close() })
	return l.(*tableLoad)
}

// part stores rows.
func (lt *loadTest) part(l entrain.TableLoad, t *entrain.Table, rows ...[]string) {
	lt.t.Helper()
	r := &rowBatches{table: t, rows: rows}
	n, err := l.Part(lt.t.Context(), r)
	if err != nil {
		lt.t.Fatal(err)
	}
	if n != int64(len(rows)) || r.out != 0 {
		lt.t.Fatalf("%d rows were stored of %d, %d batches not freed", n, len(rows), r.out)
	}
}

// text stores rows as COPY text.
func (lt *loadTest) text(l entrain.TableLoad, rows int64, text string) {
	lt.t.Helper()
	if n, err := l.Part(lt.t.Context(), &copyTextRows{text: text, rows: rows}); err != nil || n != rows {
		lt.t.Fatalf("%d rows, %v", n, err)
	}
}

func (lt *loadTest) finish(l entrain.TableLoad) {
	lt.t.Helper()
	if err := l.Finish(lt.t.Context(), "note of "+l.(*tableLoad).from.Table.Name); err != nil {
		lt.t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		lt.t.Fatal(err)
	}
}

func (lt *loadTest) complete(tables ...entrain.SnapshotTable) error {
	if err := lt.sink.Complete(lt.t.Context(), tables); err != nil {
		return err
	}
	return lt.sink.Forget(lt.t.Context())
}

// mode is what entrain.load says of a table, empty without a row.
func (lt *loadTest) mode(name string) string {
	lt.t.Helper()
	return rowsOf(lt.t, lt.url, `SELECT mode FROM entrain.load WHERE table_name = `+sqltext.Literal(name))
}

// stages counts the stage tables.
func (lt *loadTest) stages() string {
	lt.t.Helper()
	return rowsOf(lt.t, lt.url, `SELECT count(*) FROM pg_tables WHERE schemaname = 'entrain' AND tablename LIKE 'stage%'`)
}

// serverRows copies a query's text out of a server, as a source does.
type serverRows struct {
	conn *pgconn.PgConn
	sql  string
}

func (r *serverRows) Read(context.Context) (*entrain.Batch, error) { return nil, io.EOF }
func (r *serverRows) Close() error                                 { return nil }
func (r *serverRows) CopyText(ctx context.Context, w io.Writer) (int64, error) {
	tag, err := r.conn.CopyTo(ctx, w, "COPY ("+r.sql+") TO STDOUT")
	return tag.RowsAffected(), err
}

// serverBinary does so in the binary form if it is asked for its types.
type serverBinary struct {
	serverRows
	types []uint32
	forms int // times it was taken
}

func (r *serverBinary) HasTypes(oids []uint32) bool { return slices.Equal(r.types, oids) }
func (r *serverBinary) CopyBinary(ctx context.Context, w io.Writer, _ func(int64)) (int64, error) {
	r.forms++
	tag, err := r.conn.CopyTo(ctx, w, "COPY ("+r.sql+") TO STDOUT (FORMAT binary)")
	return tag.RowsAffected(), err
}

// during calls do before each batch.
type during struct {
	*rowBatches
	do func()
}

func (r *during) Read(ctx context.Context) (*entrain.Batch, error) {
	r.do()
	return r.rowBatches.Read(ctx)
}
