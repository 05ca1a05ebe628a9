package pgtest

import (
	"strings"
	"testing"
)

// Pipelines under test are superusers unless ENTRAIN_TEST_LEAST is set; then
// their roles may do what the page grants, on tables that are made later, too.
func TestLeastRoles(t *testing.T) {
	const url = "postgres://postgres@127.0.0.1:1/x?sslmode=disable"
	t.Setenv("ENTRAIN_TEST_LEAST", "")
	if SourceURL(url) != url || TargetURL(url) != url {
		t.Errorf("%s becomes %s and %s", url, SourceURL(url), TargetURL(url))
	}
	t.Setenv("ENTRAIN_TEST_LEAST", "1")
	if other := "postgres://joe:x@127.0.0.1:1/x"; SourceURL(other) != other {
		t.Errorf("another role's URL becomes %s", SourceURL(other))
	}
	for _, major := range Majors(t) {
		db := CreateDatabase(t, Start(t, major, nil))
		Exec(t, db, "CREATE SCHEMA s", "CREATE TABLE s.t (id int PRIMARY KEY)", "CREATE TABLE s.u AS SELECT 1 AS id")
		const super = "SELECT rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
		for _, u := range []string{SourceURL(db), TargetURL(db)} {
			if QueryOne(t, u, super) != "f" {
				t.Errorf("the role of %s may do too much", u)
			}
		}
		Exec(t, SourceURL(db), "CREATE PUBLICATION p FOR TABLE s.t, s.u")
		Exec(t, TargetURL(db), "CREATE SCHEMA entrain", "INSERT INTO s.t VALUES (1)", "UPDATE s.t SET id = 2", "DELETE FROM s.t", "TRUNCATE s.t, s.u")
		for _, sql := range []string{"DROP TABLE s.t", "CREATE TABLE s.v ()", "CREATE PUBLICATION q FOR TABLE s.t"} {
			if died := failure(t, func(t testing.TB) { Exec(t, TargetURL(db), sql) }); !strings.Contains(died, "42501") {
				t.Errorf("%s by the role that applies: %q", sql, died)
			}
		}
	}
}
