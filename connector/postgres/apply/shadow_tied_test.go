package apply

import (
	"net/url"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkDoublesWithoutRight: of two tables that a reference ties together neither may
// be put in place first by a role that has to have references checked. The stop says how
// to go on, whether both are made anew or only one; after that both are right, with the
// reference.
func TestSinkDoublesWithoutRight(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int8 PRIMARY KEY); CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES p)`)
		plain := withoutRights(t, url)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		dp, dc := doubleOf(p), doubleOf(c)
		begin := map[*entrain.Table][]entrain.Event{
			dp: append(tx(truncate(dp)), readRow(dp, "2"), readRow(dp, "3")),
			dc: append(tx(truncate(dc)), readRow(dc, "2", "3"), readRow(dc, "3", "2")),
		}
		other := map[*entrain.Table]*entrain.Table{dp: dc, dc: dp}
		for _, first := range []*entrain.Table{dp, dc} {
			for _, both := range []bool{true, false} {
				pgtest.Exec(t, url, `TRUNCATE p, c; INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2)`)
				f := newFeed(t, plain)
				f.bulk(begin[first])
				second := other[first]
				if both {
					f.bulk(begin[second])
				}
				stop := wantStop(t, f.bulkErr(t.Context(), tx(readEnd(first))), "shadow_refused")
				resync := "entrain table resync FILE " + second.String()
				if strings.Contains(stop.Next, resync) == both || !strings.Contains(stop.Next, "entrain run FILE") {
					t.Errorf("both %v: next is %s", both, stop.Next)
				}
				lines := strings.Split(stop.Next, "\n")
				pgtest.Exec(t, url, dropsReference(lines))
				f.open()
				f.bulk(tx(readEnd(first)))
				if !both {
					f.bulk(begin[second])
				}
				f.bulk(tx(readEnd(second)))
				_, back, found := strings.Cut(lines[len(lines)-1], "-- once the rows are copied: ")
				if !found {
					t.Fatalf("nothing brings the reference back: %s", stop.Next)
				}
				pgtest.Exec(t, url, back)
				wantRows(t, url, `SELECT (SELECT string_agg(id::text, ',' ORDER BY id) FROM p), (SELECT string_agg(id || '→' || p, ',' ORDER BY id) FROM c)`, "2,3|2→3,3→2")
				f.w.Close()
			}
		}
	})
}

// dropsReference is the line of an advice that takes the reference out of the way, be it
// the first way or, behind a right that can be granted, the second.
func dropsReference(lines []string) string {
	for _, line := range lines {
		if line = strings.TrimPrefix(line, "-- or: "); strings.HasPrefix(line, "ALTER TABLE") {
			return line
		}
	}
	return "no such line"
}

// withoutRights is the URL for a role that may change the rows of the database's tables
// and make its own, and no more.
func withoutRights(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	const role = "apply_plain"
	if pgtest.QueryOne(t, raw, `SELECT count(*) FROM pg_roles WHERE rolname = '`+role+`'`) == "0" {
		pgtest.Exec(t, raw, `CREATE ROLE `+role+` LOGIN`)
	}
	pgtest.Exec(t, raw, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role,
		`DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO `+role+`', current_database()); END $$`)
	u.User = url.User(role)
	return u.String()
}
