package preflight_test

import (
	"strings"
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

// keyAt lists the columns of a table's first unique index, in its order.
func keyAt(t *testing.T, url, table string) string {
	return pgtest.QueryOne(t, url, `SELECT pg_get_indexdef(min(indexrelid::int)) FROM pg_index
		WHERE indisunique AND indrelid = to_regclass(`+sqltext.Literal(table)+`)`)
}

// TestKeyOrder: the key that fixes make has the order of the source's index, not
// of the table's columns or of their names.
func TestKeyOrder(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	table := sqltext.Table(oddSchema, "lines")
	l.asKeeper(l.source, "CREATE TABLE "+table+" (line int, order_id int, v text, PRIMARY KEY (order_id, line))", "ALTER PUBLICATION pub ADD TABLE "+table)
	l.mend(l.findings("table_missing")[0].Fix)
	check := func() {
		t.Helper()
		if got := keyAt(t, l.target, table); !strings.HasSuffix(got, "(order_id, line)") {
			t.Errorf("the key is %s", got)
		}
		for _, code := range []string{"unique_key_missing", "key_mismatch"} {
			if found := l.findings(code); len(found) > 0 {
				t.Errorf("found %+v", found)
			}
		}
	}
	check()
	l.asKeeper(l.target, "ALTER TABLE "+table+" DROP CONSTRAINT lines_pkey")
	l.mend(l.findings("unique_key_missing")[0].Fix)
	check()
	l.asKeeper(l.target, "DROP INDEX "+sqltext.Table(oddSchema, "lines_order_id_line_idx"), "CREATE UNIQUE INDEX ON "+table+" (line, order_id)")
	if found := l.findings("unique_key_missing"); len(found) > 0 {
		t.Errorf("an index in another order: %+v", found)
	}
}

// TestSameDomain: a domain gives the values at both ends the same bounds; one
// that is wider at the source does not.
func TestSameDomain(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		l := newLab(t, pgtest.Shared(t, major), major)
		money, label, wide := sqltext.Table(oddSchema, `mo"ney`), sqltext.Table(oddSchema, "label"), sqltext.Table(oddSchema, "wide")
		domains := "CREATE DOMAIN " + money + " AS numeric(10,2); CREATE DOMAIN " + label + " AS varchar(20)"
		l.asKeeper(l.source, domains, "CREATE DOMAIN "+wide+" AS numeric(10,4)",
			"ALTER TABLE "+oddTable+" ADD m "+money+", ADD l "+label+", ADD plain numeric(10,2), ADD w "+wide)
		l.asKeeper(l.target, domains, "ALTER TABLE "+oddTable+" ADD m "+money+", ADD l "+label+", ADD plain "+money+", ADD w "+money)
		found := append(l.findings("column_narrower"), l.findings("column_type")...)
		if len(found) != 1 || !strings.HasSuffix(found[0].Object, `."w"`) || found[0].Status != fails {
			t.Fatalf("%d: found %+v", major, found)
		}
		l.mend(found[0].Fix)
		if found := l.findings("column_narrower"); len(found) > 0 {
			t.Errorf("%d: after the fix: %+v", major, found)
		}
	}
}
