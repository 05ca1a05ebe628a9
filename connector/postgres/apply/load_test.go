package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
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
		if got := lt.mode("orders"); got != "filled" {
			t.Errorf("a finished load is written down as %q", got)
		}
		if err := lt.complete(snapshotOf(o)); err != nil {
			t.Fatal(err)
		}
		if got := lt.mode("orders"); got != "" {
			t.Errorf("a completed load is written down as %q", got)
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

// TestLoadValues proves P1 for values, on both ways.
func TestLoadValues(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		columns, rows := []string{"id int8 PRIMARY KEY"}, [][]string{}
		for i, c := range valueCases {
			columns = append(columns, fmt.Sprintf("c%d %s", i, c.typ))
			for j, v := range c.values {
				if j == len(rows) {
					rows = append(rows, slices.Repeat([]string{"NULL"}, len(valueCases)))
				}
				rows[j][i] = v
			}
		}
		statements := []string{valueTypes + `; CREATE SCHEMA origin; CREATE TABLE origin.v (` + strings.Join(columns, ", ") + `);
			CREATE TABLE v (LIKE origin.v INCLUDING ALL)`}
		for i, row := range rows {
			statements = append(statements, fmt.Sprintf("INSERT INTO origin.v VALUES (%d, %s)", i, strings.Join(row, ", ")))
		}
		pgtest.Exec(t, url, statements...)
		conn, table, lt := sessionAt(t, url), describe(t, url, "public", "v"), newLoadTest(t, url)
		for way, load := range map[string]func(l *tableLoad) error{
			"text": func(l *tableLoad) error {
				_, err := l.Part(t.Context(), &serverRows{conn: conn, sql: "SELECT * FROM origin.v"})
				return err
			},
			"rows": func(l *tableLoad) error {
				lt.part(l, table, textRows(t, conn, "SELECT * FROM origin.v")...)
				return nil
			},
		} {
			l := lt.load(table)
			mustLoad(t, load(l))
			lt.finish(l)
			wantRows(t, url, `SELECT count(*) FROM origin.v o JOIN v USING (id) WHERE o *= v`, fmt.Sprint(len(rows)))
			t.Log(way)
			pgtest.Exec(t, url, "TRUNCATE v")
		}
	})
}

// textRows are the rows of a query as a source sends them.
func textRows(t testing.TB, conn *pgconn.PgConn, sql string) [][]string {
	t.Helper()
	res := conn.ExecParams(t.Context(), sql, nil, nil, nil, nil).Read()
	mustLoad(t, res.Err)
	rows := make([][]string, len(res.Rows))
	for i, values := range res.Rows {
		for _, v := range values {
			text := "∅"
			if v != nil {
				text = string(v)
			}
			rows[i] = append(rows[i], text)
		}
	}
	return rows
}
