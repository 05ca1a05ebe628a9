package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// stopNoArbiter is for a table whose rows cannot be replaced by key. What the open
// transaction did to the table is undone with it, so that the advice has that, too:
// rows from before a new key have none, and would stay beside those that come with it.
func (c *catalog) stopNoArbiter(st *targetTable) error {
	stop := &entrain.Stop{
		Code: "key_index_missing",
		What: fmt.Sprintf("table %s has no unique index at the target on what identifies its rows, or one that is deferrable", st.Table),
		Why:  "while the table is copied, and when a dead letter is replayed, rows that may be there already are replaced by key",
		Next: fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s);\n%s", st.sql, strings.Join(st.keyNames(), ", "), thenRun),
	}
	if st.late != "" {
		stop.Next = fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD UNIQUE (%s);\n%s", st.sql, st.late, strings.Join(st.keyNames(), ", "), thenRun)
	}
	if len(st.Key) == 0 {
		stop.Why = "the source identifies rows by all their columns, and the target's table has no primary key; " + stop.Why
		stop.Next = fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);   -- the columns that tell its rows apart\n%s", st.sql, thenRun)
	}
	before, keys := c.undone(st.Table)
	if len(keys) > 0 {
		stop.Why += "; the key is new, so that the rows which are there have none: they are removed first, since all rows of the table are delivered once more"
		for i, name := range keys {
			keys[i] = sqltext.Ident(name) + " IS NULL"
		}
		before = append(before, fmt.Sprintf("DELETE FROM %s WHERE %s;", st.sql, strings.Join(keys, " OR ")))
	}
	if len(before) > 0 {
		stop.Next = lines(before) + "\n" + stop.Next
	}
	return stop
}

// constraintSQL says how a constraint, or a unique index that is none, is dropped
// and made again.
const constraintSQL = `SELECT format('ALTER TABLE %I.%I DROP CONSTRAINT %I;', n.nspname, c.relname, k.conname),
  format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s;', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3
UNION ALL SELECT format('DROP INDEX %I.%I;', n.nspname, i.relname), pg_get_indexdef(i.oid) || ';'
FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE n.nspname = $1 AND i.relname = $3 AND i.relkind IN ('i', 'I') AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype <> 'f')`

// aside returns the SQL that takes the constraint that err names out of the way,
// and as a comment the one that brings it back. It ends the transaction.
func (w *writer) aside(ctx context.Context, err error) (string, *pgconn.PgError) {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.ConstraintName == "" {
		return "", nil
	}
	if _, fault := dial.QueryRows(ctx, w.conn, "ROLLBACK"); fault != nil {
		return "", nil
	}
	row, fault := dial.QueryRow(ctx, w.conn, constraintSQL, refused.SchemaName, refused.TableName, refused.ConstraintName)
	if fault != nil || row == nil {
		return "", nil
	}
	return row[0] + "\n" + thenRun + "\n-- once the rows are copied: " + strings.ReplaceAll(row[1], "\n", " "), refused
}

// explainSwap says which constraint stands between a double and its table.
func (w *writer) explainSwap(ctx context.Context, swap *swapError) error {
	stop := &entrain.Stop{
		Code: "shadow_refused",
		What: fmt.Sprintf("a constraint of the target does not let the copied rows take the place of those of table %s%s; everything through %s is applied",
			swap.t.Table, keyOf(swap.err), w.pos),
		Why: inWords(swap.err) + "; the table still has its old rows, and the new ones wait in " + swap.t.sql +
			"; each order of the changes was tried",
		Next: "mend the rows that the constraint names\n" + thenRun,
		Err:  swap.err,
	}
	if sql, refused := w.aside(ctx, swap.err); refused != nil {
		stop.What += fmt.Sprintf(" (%s of %s.%s)", refused.ConstraintName, refused.SchemaName, refused.TableName)
		stop.Next = sql
		if refused.Code == stateForeignKey {
			stop.Next = w.pastReference(ctx, swap.t, sql)
		}
	}
	return stop
}

// pastReference completes the SQL that takes a reference out of the way: it holds
// again once the tables at both of its ends have been read anew.
func (w *writer) pastReference(ctx context.Context, t *targetTable, sql string) string {
	tied, err := dial.QueryRows(ctx, w.conn, tiedSQL, fmt.Sprint(t.real.Relation))
	if err != nil {
		return sql
	}
	var old []string
	for _, other := range tied {
		if other[1] != "true" && !slices.Contains(old, other[0]) {
			old = append(old, other[0])
		}
	}
	drop, back, _ := strings.Cut(sql, "\n")
	next := drop + "\n-- then: entrain run FILE"
	canGrant, err := dial.QueryRow(ctx, w.conn, canGrantSQL)
	switch {
	case len(old) > 0:
		next += "\n-- and, for the rows at the other end: entrain table resync FILE " + strings.Join(old, " ")
	case err == nil && canGrant[0] == "true" && !t.real.differs:
		next = fmt.Sprintf("GRANT SET ON PARAMETER session_replication_role TO %s;   -- then: entrain run FILE\n-- or: ", sqltext.Ident(w.catalog.role)) + next
	}
	return next + "\n" + back
}

// explainReference turns the refusal of a row whose parent is not copied yet into
// a stop that says how to let it in.
func (w *writer) explainReference(ctx context.Context, err error, events []entrain.Event) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	t := w.settling(events, refused)
	if t == nil {
		return err
	}
	drop, refused := w.aside(ctx, err)
	if refused == nil {
		return err
	}
	stop := &entrain.Stop{
		Code: "reference_waits",
		What: fmt.Sprintf("a row of table %s refers to one that is not copied yet (%s)%s; everything through %s is applied",
			t.Table, refused.ConstraintName, keyOf(err), w.pos),
		Why: "while the tables are copied, rows come in any order, and a constraint that is checked at the end of each transaction " +
			"does not help: drop it until the copy is complete",
		Next: drop,
		Err:  err,
	}
	canGrant, fault := dial.QueryRow(ctx, w.conn, canGrantSQL)
	if fault == nil && canGrant[0] == "true" && t.letsGo() && !w.unchecked {
		stop.Why = "while the tables are copied, rows come in any order; with this right, references of tables that are being copied " +
			"are not checked meanwhile; or drop the constraint until then, as below"
		stop.Next = fmt.Sprintf("GRANT SET ON PARAMETER session_replication_role TO %s;\n-- or: ", sqltext.Ident(w.catalog.role)) + drop
	}
	return stop
}

// settling returns the table that the refusal is about if its rows are being copied.
func (w *writer) settling(events []entrain.Event, refused *pgconn.PgError) *targetTable {
	for i := range events {
		e := &events[i]
		if e.Settling && e.Table != nil && e.Table.Schema == refused.SchemaName && e.Table.Name == refused.TableName {
			return w.catalog.tables[e.Table]
		}
	}
	return nil
}
