package apply

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

var _ entrain.Loader = (*Sink)(nil)

// TestLoadDirect proves P1 for the rows that were there before: batches and COPY
// text, several parts, straight into an empty table.
func TestLoadDirect(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		l := lt.load(o)
		lt.part(l, o, []string{"1", "a\tb\\", "1"}, []string{"2", "", "∅"}, []string{"3", "c", "3"}, []string{"4", "∅", "4"})
		lt.text(l, 2, "5\te\\tf\t5\n6\t\\N\t\\N\n")
		lt.part(l, o)
		if got := lt.mode("orders"); got != "direct" {
			t.Errorf("mode %q", got)
		}
		lt.finish(l)
		null := pgtest.Null
		wantRows(t, url, `SELECT * FROM orders ORDER BY id`, strings.Join([]string{"1|a\tb\\|1", "2||" + null, "3|c|3",
			"4|" + null + "|4", "5|e\tf|5", "6|" + null + "|" + null}, "\n"))
		if got := lt.mode("orders"); got != "" {
			t.Errorf("a finished load is written down as %q", got)
		}
		if err := lt.complete(snapshotOf(o)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Part(t.Context(), &rowBatches{table: o}); err == nil {
			t.Error("a finished load takes a part")
		}
	})
}

// TestLoadPartFails: a part that fails has no effect, whoever is at fault, and
// the load goes on.
func TestLoadPartFails(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL+`; CREATE TABLE tight (id int8 PRIMARY KEY, v varchar(3) CHECK (v <> 'no'), n int4)`)
		o, tight := describe(t, url, "public", "orders"), describe(t, url, "public", "tight")
		lt := newLoadTest(t, url)
		l := lt.load(o)
		fault := errors.New("the source is gone")
		_, err := l.Part(t.Context(), &rowBatches{table: o, rows: [][]string{{"1", "a", "1"}}, fault: fault})
		if !errors.Is(err, fault) {
			t.Errorf("got %v", err)
		}
		if _, err = l.Part(t.Context(), &copyTextRows{text: "1\ta\t1\n", rows: 1, fault: fault}); !errors.Is(err, fault) {
			t.Errorf("got %v", err)
		}
		if _, err = l.Part(t.Context(), &copyTextRows{text: "1\ta\t1\n", rows: 2}); err == nil {
			t.Error("a row too few is accepted")
		}
		wantRows(t, url, `SELECT count(*) FROM orders`, "0")
		lt.text(l, 1, "1\ta\t1\n")
		lt.finish(l)
		wantRows(t, url, `SELECT count(*) FROM orders`, "1")

		l = lt.load(tight)
		for name, r := range map[string]entrain.RowReader{
			"row 2 of the part, column \"v\"": &copyTextRows{text: "1\tok\t1\n2\tlong\t2\n", rows: 2},
			"\"n\"":                           &rowBatches{table: tight, rows: [][]string{{"1", "ok", "1"}, {"2", "a", "x"}}},
			"tight_v_check":                   &rowBatches{table: tight, rows: [][]string{{"1", "ok", "1"}, {"2", "no", "2"}}},
			"tight_pkey":                      &copyTextRows{text: "1\ta\t1\n1\tb\t1\n", rows: 2},
		} {
			_, err := l.Part(t.Context(), r)
			stop := wantStop(t, err, "row_refused")
			if !stop.Data || !strings.Contains(stop.What, name) || !strings.Contains(stop.What, "public.tight") {
				t.Errorf("%s: %s", name, stop.What)
			}
		}
		wantRows(t, url, `SELECT count(*) FROM tight`, "0")
	})
}

// TestLoadValues proves P1 for values on both ways, those without a binary form
// in the middle of a part.
func TestLoadValues(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, valueTypes+`; CREATE SCHEMA origin`)
		conn := sessionAt(t, url)
		lt := newLoadTest(t, url)
		for i, c := range valueCases {
			name := fmt.Sprintf("v%d", i)
			statements := []string{fmt.Sprintf(`CREATE TABLE origin.%[1]s (id int8 PRIMARY KEY, v %[2]s); CREATE TABLE public.%[1]s (LIKE origin.%[1]s INCLUDING ALL)`, name, c.typ)}
			for j, v := range c.values {
				statements = append(statements, fmt.Sprintf(`INSERT INTO origin.%s VALUES (%d, %s)`, name, j, v))
			}
			pgtest.Exec(t, url, statements...)
			table := describe(t, url, "public", name)
			lt.checkValues(conn, table, len(c.values))
		}
	})
}

// checkValues brings the rows of the table's twin to the target in both ways.
func (lt *loadTest) checkValues(conn *pgconn.PgConn, table *entrain.Table, rows int) {
	t := lt.t
	t.Helper()
	from := "origin." + table.Name
	for way, load := range map[string]func(l *tableLoad){
		"text": func(l *tableLoad) {
			_, err := l.Part(t.Context(), &serverRows{conn: conn, sql: "SELECT * FROM " + from})
			mustLoad(t, err)
		},
		"rows": func(l *tableLoad) { lt.part(l, table, textRows(t, conn, "SELECT id::text, v FROM "+from)...) },
	} {
		t.Log(table.Columns[1].Type, way)
		l := lt.load(table)
		load(l)
		lt.finish(l)
		wantRows(t, lt.url, fmt.Sprintf(`SELECT count(*) FROM origin.%[1]s o JOIN public.%[1]s p ON o.id = p.id
			AND ROW(o.v)::record *= ROW(p.v)::record`, table.Name), fmt.Sprint(rows))
		pgtest.Exec(t, lt.url, "TRUNCATE public."+table.Name)
	}
}

// textRows are the rows of a query as a source sends them.
func textRows(t testing.TB, conn *pgconn.PgConn, sql string) [][]string {
	t.Helper()
	rows, err := dial.QueryRows(t.Context(), conn, sql)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
