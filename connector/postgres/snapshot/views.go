package snapshot

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Views, materialized views and foreign tables have no changes in the log. Those that
// are named one by one are copied with the tables, each in one part, as the snapshot
// sees them; nothing follows.

const (
	viewsSQL = `SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3`

	// viewMarkSQL is something that changes whenever what a view is made of does: its
	// rules, those of the views below it, and where the rows of all tables below lie.
	// What a function reads that a view calls is not known.
	viewMarkSQL = `WITH RECURSIVE below(oid) AS (
  SELECT $1::oid
  UNION SELECT x.oid FROM below, LATERAL (
    SELECT d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
      AND d.refclassid = 'pg_class'::regclass WHERE w.ev_class = below.oid
    UNION ALL SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = below.oid) x(oid))
SELECT hashtextextended(coalesce(string_agg(concat_ws(' ', c.oid, c.relkind, c.relfilenode,
  (SELECT string_agg(concat_ws(' ', w.oid, w.xmin), ',' ORDER BY w.oid) FROM pg_rewrite w WHERE w.ev_class = c.oid)), ';' ORDER BY c.oid), '') COLLATE "C", 0)::text
FROM below JOIN pg_class c ON c.oid = below.oid`
)

// views lists the named ones, with their columns and their one part.
func (c catalog) views(ctx context.Context) ([]*published, error) {
	if c.cfg.Named == nil {
		return nil, nil
	}
	rows, err := dial.QueryRows(ctx, c.conn, viewsSQL)
	if err != nil {
		return nil, err
	}
	var views []*published
	for _, r := range rows {
		if !c.cfg.Named(r[1], r[2]) || !c.cfg.Wants(r[1], r[2]) {
			continue
		}
		l := &leaf{oid: r[0], schema: r[1], table: r[2], rows: -1}
		if n := integer(r[4]); n > 0 {
			l.rows = n
		}
		mark, err := dial.QueryRow(ctx, c.conn, viewMarkSQL, l.oid)
		if err != nil {
			return nil, fmt.Errorf("look at what %s is made of: %w", l.name(), err)
		}
		l.mark = mark[0]
		views = append(views, &published{lists: [][]string{nil}, table: table{
			oid: r[0], leaves: []*leaf{l}, once: true,
			shape: &entrain.Table{Schema: r[1], Name: r[2], FullIdentity: true},
		}})
	}
	return views, c.readColumns(ctx, views)
}

// freely lets the planner read a view as it likes: its rows are in no place that
// ranges could be of.
const freely = "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_bitmapscan = on; "

// viewGateSQL is gateSQL for a view: the query without rows takes the locks, since not
// all kinds can be locked by a command.
func (p part) viewGateSQL() string {
	shape := "SELECT " + p.leaf.list() + " FROM " + p.leaf.name() + " LIMIT 0"
	return freely + shape + "; SELECT pg_current_snapshot()::text, to_regclass(" + sqltext.Literal(p.leaf.name()) + ")::oid, ''; " + shape
}

// sameView makes sure, behind the rows of a view, that the snapshot could see what it
// was made of: the rows of a table that was rewritten since are not there for it, and
// functions of the server show the rules of a view as they were. The session has given
// its locks back; what has the mark of the snapshot now had it all the time.
func (sess *session) sameView(ctx context.Context, p part) error {
	mark, err := dial.QueryRow(ctx, sess.conn, viewMarkSQL, p.leaf.oid)
	if err != nil {
		return err
	}
	if mark[0] != p.leaf.mark {
		return p.rewritten("it, or a table below it, is another one now")
	}
	return nil
}

// unpopulated says that a materialized view has no rows to read, not even none.
func (l *leaf) unpopulated(err error) error {
	return &entrain.Stop{
		Code: "view_not_populated",
		What: fmt.Sprintf("materialized view %s was never filled, or was emptied WITH NO DATA: it has no rows to copy", l.name()),
		Next: "REFRESH MATERIALIZED VIEW " + l.name() + ";",
		Err:  err,
	}
}
