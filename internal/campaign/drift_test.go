package campaign

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// drift is a change of one side's tables that the other side does not have.
type drift struct {
	name string
	at   string // the side: source or target
	sql  string
	// change is what happens at the source then; code is the stop, with these
	// texts in it.
	change string
	code   string
	says   []string
	// repair is what a person does about it; empty if the stop prints the SQL.
	repair string
}

var drifts = []drift{
	{"missing column", "target", "ALTER TABLE orders DROP COLUMN note",
		"INSERT INTO orders VALUES (%d, 'x')", "column_missing", []string{"note", "orders"}, ""},
	{"type changed at the source", "source", "ALTER TABLE orders ALTER COLUMN note TYPE char(5)",
		"INSERT INTO orders VALUES (%d, 'x')", "schema_retype", []string{"note", "character(5)"}, ""},
	{"narrower column", "target", "ALTER TABLE orders ALTER COLUMN note TYPE varchar(3)",
		"INSERT INTO orders VALUES (%d, 'too long')", "row_refused", []string{"orders", "22001"},
		"ALTER TABLE orders ALTER COLUMN note TYPE text"},
	{"other type", "target", "ALTER TABLE orders ALTER COLUMN note TYPE integer USING length(note)",
		"INSERT INTO orders VALUES (%d, 'no number')", "row_refused", []string{"orders", "22P02"},
		"ALTER TABLE orders ALTER COLUMN note TYPE text"},
	{"renamed column", "target", "ALTER TABLE orders RENAME COLUMN note TO remark; ALTER TABLE orders ALTER COLUMN remark DROP NOT NULL",
		"INSERT INTO orders VALUES (%d, 'x')", "column_missing", []string{"note"},
		"ALTER TABLE orders RENAME COLUMN remark TO note"},
	{"column that must not be null", "target", "ALTER TABLE orders ADD COLUMN must int NOT NULL DEFAULT 1; ALTER TABLE orders ALTER COLUMN must DROP DEFAULT",
		"INSERT INTO orders VALUES (%d, 'x')", "row_refused", []string{"orders", "23502"},
		"ALTER TABLE orders ALTER COLUMN must SET DEFAULT 1"},
	{"missing table", "target", "ALTER TABLE orders RENAME TO orders_old",
		"INSERT INTO orders VALUES (%d, 'x')", "table_missing", []string{"orders"},
		"ALTER TABLE orders_old RENAME TO orders"},
}

// printedDDL is the SQL that a stop prints.
var printedDDL = regexp.MustCompile(`ALTER TABLE [^;\n]*;`)

// TestCO11SinkDrift: a target that is not as the source needs it is a named stop
// while running, before anything of the transaction can be seen (P4); after the
// repair, which is the printed SQL where there is one, everything is there once
// (P1, P2).
func TestCO11SinkDrift(t *testing.T) {
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			s, _ := shop(t, someMajor(t))
			file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
			p := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			pgtest.Exec(t, s.source, "INSERT INTO orders VALUES (1, 'x')")
			pgtest.Eventually(t, patience, "the first order is there", func() bool {
				return pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders") == "1"
			})
			side := map[string]string{"source": s.source, "target": s.target}[d.at]
			pgtest.Exec(t, side, d.sql)
			pgtest.Exec(t, s.source, "BEGIN; INSERT INTO marker VALUES (7); "+orders(d.change)+"; COMMIT")
			p.exitStopped(t, d)
			if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM marker"); n != "0" {
				t.Errorf("%s rows of the refused transaction can be seen", n)
			}
			repair := []string{d.repair}
			if d.repair == "" {
				repair = printedDDL.FindAllString(p.stderr.String(), -1)
			}
			if len(repair) == 0 {
				t.Fatalf("no SQL is printed: %s", tail(p.stderr.String(), 800))
			}
			pgtest.Exec(t, s.target, repair...)
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			s.wantOrders(t, 21)
			const notes = "SELECT string_agg(id || note, ',' ORDER BY id) FROM orders WHERE id > 1"
			if got, want := pgtest.QueryOne(t, s.target, notes), pgtest.QueryOne(t, s.source, notes); got != want {
				t.Errorf("orders %s; want %s", got, want)
			}
		})
	}
}

// orders repeats a statement for 20 orders, enough to be applied as a set.
func orders(statement string) string {
	all := make([]string, 20)
	for i := range all {
		all[i] = fmt.Sprintf(statement, i+2)
	}
	return strings.Join(all, "; ")
}

// exitStopped waits for the named stop.
func (p *process) exitStopped(t *testing.T, d drift) {
	t.Helper()
	want := exitEnvironment
	if d.code == "row_refused" {
		want = exitRuntime
	}
	p.exit(t, want)
	for _, text := range append(d.says, d.code) {
		if !p.stderr.has(text) {
			t.Errorf("%q is not said: %s", text, tail(p.stderr.String(), 800))
		}
	}
}
