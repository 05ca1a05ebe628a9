package preflight_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestManyTables: P6. The queries are for all tables at once, so that 5,000
// tables are examined within the time that one server is given.
func TestManyTables(t *testing.T) {
	tables := 400
	if os.Getenv("ENTRAIN_TEST_WIDE") != "" {
		tables = 5000
	}
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	for from := 0; from < tables; from += 500 { // a transaction may hold so many locks
		create := fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE public.many_%%s (id int PRIMARY KEY, a text, b numeric(10,2), c timestamptz, d jsonb)', i);
			END LOOP; END $$`, from, min(from+500, tables)-1)
		pgtest.Exec(t, l.source, create)
		pgtest.Exec(t, l.target, create)
	}
	began := time.Now()
	source, target := l.check()
	took := time.Since(began)
	t.Logf("%d tables in %s", tables, took)
	if took > 10*time.Second || len(source.Tables) != 1 || len(target.Tables) != 1 {
		t.Errorf("%s, %d and %d tables", took, len(source.Tables), len(target.Tables))
	}
	pgtest.Exec(t, l.source, `DO $$ BEGIN EXECUTE (SELECT 'ALTER PUBLICATION pub ADD TABLE ' || string_agg(oid::regclass::text, ', ')
		FROM pg_class WHERE relname LIKE 'many%' AND relkind = 'r'); END $$`)
	began = time.Now()
	source, target = l.check()
	took = time.Since(began)
	t.Logf("%d published tables in %s", tables, took)
	if took > 10*time.Second || len(source.Tables) != tables+1 || len(target.Tables) != tables+1 {
		t.Errorf("%s, %d and %d tables", took, len(source.Tables), len(target.Tables))
	}
}
