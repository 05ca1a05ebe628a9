package preflight_test

import (
	"testing"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// columnsAt lists a table's columns, in its order.
func columnsAt(t *testing.T, url, table string) string {
	return pgtest.QueryOne(t, url, `SELECT coalesce(string_agg(attname, ',' ORDER BY attnum), '') FROM pg_attribute
		WHERE attrelid = to_regclass(`+sqltext.Literal(table)+`) AND attnum > 0 AND NOT attisdropped`)
}

// TestGeneratedColumn: P1. A generated column is asked for at the target only if
// the source will send it, with a publication and before there is one.
func TestGeneratedColumn(t *testing.T) {
	table := sqltext.Table(oddSchema, "computed")
	for name, publish := range map[string]string{"published": "ALTER PUBLICATION pub ADD TABLE " + table, "no publication": "DROP PUBLICATION pub"} {
		t.Run(name, func(t *testing.T) {
			for _, major := range pgtest.Majors(t) {
				l := newLab(t, pgtest.Shared(t, major), major)
				l.asKeeper(l.source, "CREATE TABLE "+table+" (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)", publish)
				want := "id,a"
				if major >= 18 && name == "no publication" {
					want = "id,a,twice" // that we make sends it
				}
				missing := l.findings("table_missing")
				if len(missing) != 1 {
					t.Fatalf("%d: found %+v", major, missing)
				}
				l.mend(missing[0].Fix)
				if got := columnsAt(t, l.target, table); got != want {
					t.Errorf("%d: the fix makes the columns %s, want %s", major, got, want)
				}
				if found := append(l.findings("column_missing"), l.findings("table_missing")...); len(found) > 0 {
					t.Errorf("%d: after the fix: %+v", major, found)
				}
			}
		})
	}
}
