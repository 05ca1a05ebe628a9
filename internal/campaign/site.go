package campaign

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const (
	accountTables = 5
	accountsPer   = 20
	startBalance  = 1000
	ledgerTotal   = accountTables * accountsPer * startBalance
	chainKeys     = 200
	stepKeys      = 40
	movedRows     = 100
)

// tablesSQL is the shape of both sides. chain and its companions are applied in
// sets; tick and step have triggers at the target and are applied row by row;
// chain_log has no key, so that a change that comes twice is there twice.
const tablesSQL = `
CREATE TABLE chain (id int PRIMARY KEY, n bigint NOT NULL, h bytea NOT NULL, payload text NOT NULL, big text);
ALTER TABLE chain ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE chain_gone (LIKE chain INCLUDING ALL);
CREATE TABLE chain_log (id int NOT NULL, n bigint NOT NULL, payload text NOT NULL);
ALTER TABLE chain_log REPLICA IDENTITY FULL;
CREATE TABLE journal (txno bigint PRIMARY KEY, giver text NOT NULL, taker text NOT NULL, amount bigint NOT NULL);
CREATE TABLE ledger_seq (one int PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE moved (id bigint PRIMARY KEY, tag text NOT NULL, big text NOT NULL);
ALTER TABLE moved ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE bulk (id bigint PRIMARY KEY, v text NOT NULL, n bigint NOT NULL);
CREATE TABLE broad (id bigint PRIMARY KEY, v text NOT NULL);
CREATE TABLE scratch (id bigint PRIMARY KEY, v text);
CREATE TABLE tick (change_id bigint NOT NULL, id int PRIMARY KEY, v text);
ALTER TABLE tick REPLICA IDENTITY FULL;
CREATE TABLE step (change_id bigint NOT NULL, id int PRIMARY KEY, n bigint NOT NULL, h bytea NOT NULL, payload text NOT NULL);
CREATE TABLE marker (id bigint PRIMARY KEY);
`

// countersSQL is the non-idempotent part of the target: no unique key, and a
// counter in the same transaction. The steps of a chain are checked one by one.
const countersSQL = `
CREATE TABLE applied (seq bigserial, tbl text NOT NULL, op text NOT NULL, change_id bigint NOT NULL);
GRANT USAGE ON SEQUENCE applied_seq_seq TO PUBLIC;
CREATE TABLE applied_count (slot int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO applied_count SELECT i, 0 FROM generate_series(0, 63) i;
CREATE TABLE broken_step (id int, n_before bigint, n_after bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE change bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.change_id ELSE NEW.change_id END;
BEGIN
  INSERT INTO public.applied (tbl, op, change_id) VALUES (TG_TABLE_NAME, TG_OP, change);
  UPDATE public.applied_count SET n = n + 1 WHERE slot = change % 64;
  RETURN NULL;
END $$;
CREATE FUNCTION verify_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.n <> OLD.n + 1 OR NEW.h <> sha256(OLD.h || convert_to(NEW.payload, 'UTF8')) THEN
    INSERT INTO public.broken_step VALUES (NEW.id, OLD.n, NEW.n);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON tick FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON step FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE step ENABLE ALWAYS TRIGGER note;
CREATE TRIGGER verify AFTER UPDATE ON step FOR EACH ROW EXECUTE FUNCTION verify_step();
`

// sequencesSQL is what the load needs besides, at the source only.
const sequencesSQL = `
CREATE SEQUENCE change_seq;
CREATE SEQUENCE moved_seq START 1000000;
CREATE SEQUENCE scratch_seq;
CREATE SEQUENCE bulk_seq;
CREATE FUNCTION noise(bytes int) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, bytes / 32) $$;
`

// rowsSQL is written before anything is captured, to both sides alike: what is
// random in it comes from the keys.
const rowsSQL = `
INSERT INTO chain SELECT i, 0, '\x', '', (SELECT string_agg(md5(i || ':' || j), '') FROM generate_series(1, 150) j) FROM generate_series(1, 200) i;
INSERT INTO moved SELECT i, 'tag ' || i, (SELECT string_agg(md5(i || ';' || j), '') FROM generate_series(1, 150) j) FROM generate_series(1, 100) i;
INSERT INTO ledger_seq VALUES (1, 0);
INSERT INTO step SELECT 0, i, 0, '\x', '' FROM generate_series(1, 40) i;
`

// allTables are the tables of both sides.
func allTables() []string {
	names := []string{"chain", "chain_gone", "chain_log", "journal", "ledger_seq", "moved", "bulk", "broad", "scratch", "tick", "step", "marker"}
	for i := range accountTables {
		names = append(names, account(i))
	}
	return names
}

func account(i int) string { return fmt.Sprintf("account_%d", i) }

func accountsSQL() string {
	var b strings.Builder
	for i := range accountTables {
		fmt.Fprintf(&b, "CREATE TABLE %s (id int PRIMARY KEY, balance bigint NOT NULL);\n", account(i))
		fmt.Fprintf(&b, "INSERT INTO %s SELECT i, %d FROM generate_series(1, %d) i;\n", account(i), startBalance, accountsPer)
	}
	return b.String()
}

// site is a source and a target with the campaign's tables. name is unique and
// names the pipeline; oracle is the slot of the independent decoder.
type site struct{ source, target, name, oracle string }

// newSite makes both databases and the oracle's slot. Nothing was captured yet,
// so oracle and pipeline begin at the same point.
func newSite(t testing.TB, source, target *pgserver.Server) site {
	t.Helper()
	name := pgtest.Name(t)
	s := site{
		source: pgtest.CreateDatabase(t, source), target: pgtest.CreateDatabase(t, target),
		name: name, oracle: "oracle_" + name,
	}
	pgtest.Exec(t, s.source, tablesSQL+accountsSQL()+rowsSQL, sequencesSQL)
	pgtest.Exec(t, s.target, tablesSQL+accountsSQL()+rowsSQL, countersSQL)
	pgtest.Exec(t, s.source, "SELECT pg_create_logical_replication_slot('"+s.oracle+"', 'test_decoding')")
	return s
}

// query runs one statement with a connection of its own; NULL is "".
func query(ctx context.Context, url, sql string) ([][]string, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return queryOn(ctx, conn, sql)
}

func queryOn(ctx context.Context, conn *pgconn.PgConn, sql string) ([][]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%.200s: %w", sql, err)
	}
	var rows [][]string
	for _, values := range results[len(results)-1].Rows {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
