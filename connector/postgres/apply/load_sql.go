package apply

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/entrainsync/entrain"
)

// What is under way at the target is written in the target. A row is there from
// the beginning of a load until Complete. Its id is that of the load which may go
// on: of two, only the later one can commit.
const (
	loadTableSQL = `CREATE TABLE IF NOT EXISTS entrain.load (
  pipeline text NOT NULL,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  mode text NOT NULL,
  made_by_us boolean NOT NULL,
  id uuid NOT NULL,
  note text NOT NULL,
  started_at timestamptz NOT NULL,
  PRIMARY KEY (pipeline, schema_name, table_name)
)`

	hasLoadSQL = `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname = 'load'`

	// claimLoadSQL takes an earlier load's row over, once its last part is
	// settled, and says what it was.
	claimLoadSQL = `UPDATE entrain.load SET id = $4::uuid
WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3 RETURNING mode, made_by_us::text`

	writeLoadSQL = `INSERT INTO entrain.load (pipeline, schema_name, table_name, mode, made_by_us, id, note, started_at)
VALUES ($1, $2, $3, $4, $5::boolean, $6::uuid, '', clock_timestamp())
ON CONFLICT (pipeline, schema_name, table_name) DO UPDATE SET mode = EXCLUDED.mode, made_by_us = EXCLUDED.made_by_us,
  id = EXCLUDED.id, note = EXCLUDED.note, started_at = EXCLUDED.started_at`

	setModeSQL = `UPDATE entrain.load SET mode = $4 WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3`

	setNoteSQL = `UPDATE entrain.load SET note = $4 WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3`

	// madeHalfSQL has a row for a table that a load made and did not finish.
	madeHalfSQL = `SELECT 1 FROM entrain.load WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3
  AND made_by_us AND mode IN ('direct', 'staging', 'staged')`

	forgetLoadsSQL = `DELETE FROM entrain.load WHERE pipeline = $1 AND mode IN ('filled', 'merged')`

	notesSQL = `SELECT note FROM entrain.load WHERE pipeline = $1 AND mode IN ('staged', 'filled', 'merged')
ORDER BY schema_name, table_name`

	loadsSQL = `SELECT schema_name, table_name, mode, made_by_us::text FROM entrain.load WHERE pipeline = $1
ORDER BY schema_name, table_name`

	// actingChildrenSQL names tables whose rows change when rows of the table
	// are deleted.
	actingChildrenSQL = `SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> confrelid AND confdeltype IN ('c', 'n', 'd') AND conparentid = 0`

	// enforcedSQL has the references between whole tables that are checked in
	// our role when a row is stored. Those of partitions count as their root's.
	enforcedSQL = `SELECT coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid)::text,
  coalesce(pg_partition_root(k.confrelid)::oid, k.confrelid)::text, k.condeferrable::text, k.conrelid::regclass::text,
  CASE k.conparentid WHEN 0 THEN quote_ident(k.conname) ELSE '' END
FROM pg_constraint k WHERE k.contype = 'f' AND ` + enforcedHere + `
ORDER BY k.conrelid, k.conname`

	// enforcedParentsSQL is enforcedSQL for one whole table: what it refers to.
	enforcedParentsSQL = `SELECT coalesce(pg_partition_root(k.confrelid)::oid, k.confrelid)::text
FROM pg_constraint k WHERE k.contype = 'f'
  AND k.conrelid = ANY (ARRAY(SELECT $1::oid UNION SELECT relid::oid FROM pg_partition_tree($1::oid)))
  AND coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid) = $1::oid AND ` + enforcedHere

	// enforcedHere is whether the constraint k is checked in our role.
	enforcedHere = `EXISTS (
  SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgfoid = 'pg_catalog."RI_FKey_check_ins"()'::regprocedure
    AND g.tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END))`

	// stageColumnsSQL lists a stage table's columns.
	stageColumnsSQL = `SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname = $1 AND a.attnum > 0 AND NOT a.attisdropped`
)

// enforced is a reference that stands in the way of rows without their parent.
type enforced struct {
	child, parent         uint32
	deferrable            bool
	childName, constraint string
}

func (x *loadSession) references(ctx context.Context) ([]enforced, error) {
	rows, err := x.catalog.ask(ctx, enforcedSQL)
	if err != nil {
		return nil, fmt.Errorf("read the target's foreign keys: %w", err)
	}
	refs := make([]enforced, len(rows))
	for i, row := range rows {
		refs[i] = enforced{child: parseOID(row[0]), parent: parseOID(row[1]), deferrable: row[2] == "true",
			childName: row[3], constraint: row[4]}
	}
	return refs, nil
}

// stageName is the stage table of a pipeline for a table, qualified; nothing in
// it needs quotes.
func stageName(pipeline string, t *entrain.Table) string {
	return "entrain." + stageRelation(pipeline, t)
}

func stageRelation(pipeline string, t *entrain.Table) string {
	h := fnv.New64a()
	for _, s := range []string{pipeline, t.Schema, t.Name} {
		fmt.Fprintf(h, "%q,", s)
	}
	return fmt.Sprintf("stage_%016x", h.Sum64())
}

// mergeSQL returns the statements that make the rows of a stage the table's. A
// row whose key is there is replaced.
func mergeSQL(t *targetTable, stage string) []string {
	columns := copied(t)
	insert := "INSERT INTO " + t.sql + " AS t (" + columns + ") " + t.overriding() + "SELECT " + columns + " FROM " + stage + " AS s"
	switch {
	case len(t.Key) == 0:
		return []string{insert}
	case t.arbiter:
		return []string{insert + " ON CONFLICT (" + strings.Join(t.keyNames(), ", ") + ") " + t.onConflict()}
	}
	// No index can arbitrate: update first, insert what is not there.
	match := make([]string, len(t.Key))
	for i, c := range t.Key {
		col := t.columns[c]
		match[i] = "t." + col.name + " " + col.equal + " s." + col.name
	}
	where := strings.Join(match, " AND ")
	var set []string
	for i, col := range t.columns {
		if t.settable(i) && !col.always {
			set = append(set, col.name+" = s."+col.name)
		}
	}
	statements := []string{insert + " WHERE NOT EXISTS (SELECT FROM " + t.only + " AS t WHERE " + where + ")"}
	if len(set) > 0 {
		update := "UPDATE " + t.only + " AS t SET " + strings.Join(set, ", ") + " FROM " + stage + " AS s WHERE " + where
		statements = append([]string{update}, statements...)
	}
	return statements
}
