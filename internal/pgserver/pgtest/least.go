package pgtest

import (
	"net/url"
	"os"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// Roles of the pipelines under test where ENTRAIN_TEST_LEAST is set.
const (
	captureRole = "least_source"
	applyRole   = "least_target"
)

// least reports whether pipelines under test are to have the rights that
// docs/postgres.md prints and no others; else they are superusers.
func least() bool { return os.Getenv("ENTRAIN_TEST_LEAST") != "" }

// SourceURL is the URL for a pipeline that captures from the database of
// [CreateDatabase]. With ENTRAIN_TEST_LEAST its role is the one of the page's
// variant for source.create: it has REPLICATION, owns the tables and may make
// publications. Only the superuser's URLs are changed.
func SourceURL(raw string) string { return as(raw, captureRole) }

// TargetURL is the URL for a pipeline that applies to the database. With
// ENTRAIN_TEST_LEAST its role may read and change the rows of each table and
// make the schema for the position, and tables in the schema public.
func TargetURL(raw string) string { return as(raw, applyRole) }

func as(raw, role string) string {
	u, err := url.Parse(raw)
	if !least() || os.Getenv(asOwner) != "" || err != nil || u.User.Username() != "postgres" {
		return raw
	}
	u.User = url.User(role)
	return u.String()
}

// leastRoles makes the roles, leastTables gives them their rights on each table
// and schema that the superuser will make in a database: to the one by default
// privileges, to the other by making it the owner.
const (
	leastRoles = "CREATE ROLE " + captureRole + " LOGIN REPLICATION; CREATE ROLE " + applyRole + " LOGIN"

	leastTables = `
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO ` + applyRole + `;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO ` + captureRole + `, ` + applyRole + `;
GRANT CREATE ON SCHEMA public TO ` + applyRole + `;
CREATE SCHEMA least;
CREATE FUNCTION least.give() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE made record;
BEGIN
  FOR made IN SELECT objid::regclass AS name FROM pg_event_trigger_ddl_commands()
    WHERE object_type = 'table' AND schema_name <> 'pg_temp' AND session_user = 'postgres'
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO ` + captureRole + `', made.name);
  END LOOP;
END $$;
CREATE EVENT TRIGGER least ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
  EXECUTE FUNCTION least.give();`
)

// prepare readies a new server for [SourceURL] and [TargetURL]: databases that
// are made later are copies of template1.
func prepare(t testing.TB, srv *pgserver.Server) {
	t.Helper()
	if !least() || QueryOne(t, srv.SocketURL("postgres"), "SELECT count(*) FROM pg_roles WHERE rolname = '"+applyRole+"'") != "0" {
		return // not wanted, or its data are a copy of a prepared server's
	}
	Exec(t, srv.SocketURL("postgres"), leastRoles)
	for _, db := range []string{"template1", "postgres"} {
		Exec(t, srv.SocketURL(db), leastTables)
	}
	GrantCreate(t, srv.SocketURL("postgres"), "postgres")
}

// GrantCreate lets the roles of [SourceURL] and [TargetURL] make publication and
// position in a database that is not one of [CreateDatabase]; url is of any
// database of the server.
func GrantCreate(t testing.TB, url, database string) {
	t.Helper()
	if least() {
		Exec(t, url, "GRANT CREATE ON DATABASE "+database+" TO "+captureRole+", "+applyRole)
	}
}

// AsOwner has the test's pipelines run as superusers also where ENTRAIN_TEST_LEAST is
// set: what it is about takes the rights of an owner, as the rights page says. It is
// called first, and not in a parallel test.
func AsOwner(t testing.TB) { t.Setenv(asOwner, "1") }

// asOwner is set in tests of [AsOwner].
const asOwner = "ENTRAIN_TEST_AS_OWNER"
