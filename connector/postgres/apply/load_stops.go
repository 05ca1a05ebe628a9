package apply

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

func tableSQL(t *entrain.Table) string { return sqltext.Table(t.Schema, t.Name) }

func (x *loadSession) stopLoadTable(err error) error {
	role := sqltext.Ident(x.by.role)
	return &entrain.Stop{
		Code: "load_table",
		What: fmt.Sprintf("role %s may not make or use the table entrain.load, or make tables beside it, in %s", role, x.server),
		Why:  "what is copied is written down beside the data, and rows for tables that have some already wait in the schema entrain",
		Next: strings.Join([]string{
			loadTableSQL,
			"GRANT USAGE, CREATE ON SCHEMA entrain TO " + role,
			"GRANT SELECT, INSERT, UPDATE, DELETE ON entrain.load TO " + role,
		}, ";\n") + ";",
		Err: err,
	}
}

func stopLoadNotEmpty(t *entrain.Table) error {
	return &entrain.Stop{
		Code: "load_not_empty",
		What: fmt.Sprintf("table %s has rows at the target and no key to tell them from those that are to be copied", t),
		Why:  "rows that are there already would be there twice",
		Next: fmt.Sprintf("TRUNCATE TABLE %s;   -- or exclude %s from the source's tables, or give it a primary key", tableSQL(t), t),
	}
}

func stopLoadReferenced(t *entrain.Table, child, pipeline string) error {
	return &entrain.Stop{
		Code: "load_referenced",
		What: fmt.Sprintf("the rows that an unfinished load has left in table %s cannot be removed: %s refers to them and would be changed, too", t, child),
		Why:  "only rows of the load itself are removed without asking",
		Next: fmt.Sprintf("DELETE FROM %s; DELETE FROM entrain.load WHERE pipeline = %s AND schema_name = %s AND table_name = %s;   -- look at %s first",
			tableSQL(t), sqltext.Literal(pipeline), sqltext.Literal(t.Schema), sqltext.Literal(t.Name), child),
	}
}

// stopReferenceCycle is nil if every table can have its rows after its parents.
func stopReferenceCycle(g *applyplan.Graph, refs []enforced, targets []*targetTable) error {
	names := map[uint32]string{}
	var tables, next []string
	for _, t := range targets {
		if g.Cyclic(t.Relation) {
			names[t.Relation] = t.sql
			tables = append(tables, t.Table.String())
		}
	}
	for _, r := range refs {
		if names[r.child] != "" && names[r.parent] != "" && !r.deferrable && r.constraint != "" && r.child != r.parent {
			next = append(next, fmt.Sprintf("ALTER TABLE %s ALTER CONSTRAINT %s DEFERRABLE;", names[r.child], r.constraint))
		}
	}
	if tables == nil {
		return nil
	}
	return &entrain.Stop{
		Code: "reference_cycle",
		What: fmt.Sprintf("tables %s refer to each other at the target, so that none can have its rows first", strings.Join(tables, ", ")),
		Why:  "references that cannot be deferred are checked by each statement; the rows are copied and wait",
		Next: strings.Join(next, "\n"),
	}
}

// stopDefinition names the statement that the target did not take.
func (x *loadSession) stopDefinition(ctx context.Context, t *entrain.Table, sql string, err error) error {
	stop := &entrain.Stop{
		Code: "definition_refused",
		What: fmt.Sprintf("the target refused a statement that makes table %s as it is at the source", t),
		Why:  inWords(err),
		Next: sql + ";",
		Err:  err,
	}
	if dial.SQLState(err) == dial.StateNoPrivilege {
		stop.Next = x.grantCreate(ctx, t) + "\n-- or as a role that may: " + stop.Next
	}
	return stop
}

// grantCreate ends the transaction that was refused in order to ask.
func (x *loadSession) grantCreate(ctx context.Context, t *entrain.Table) string {
	role := sqltext.Ident(x.by.role)
	var schema, database []string
	err := x.run(ctx, "ROLLBACK")
	if err == nil {
		schema, err = x.ask(ctx, "SELECT 1 FROM pg_namespace WHERE nspname = $1", t.Schema)
	}
	if err == nil {
		database, err = x.ask(ctx, "SELECT current_database()::text")
	}
	if err == nil && schema == nil && database != nil {
		return fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s;", sqltext.Ident(database[0]), role)
	}
	return fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s;", sqltext.Ident(t.Schema), role)
}

// copyPlace is where the server says that a COPY failed. The value that may
// follow is nobody's business.
var copyPlace = regexp.MustCompile(`^COPY .*, line (\d+)(?:, column ([^:]+))?`)

// refused names the table, and the row of the part, that the target does not
// take. t is nil if that is not known.
func (x *loadSession) refused(ctx context.Context, err error, t *entrain.Table) error {
	if ctx.Err() != nil {
		return ctx.Err() // the driver closes the connection, and says so
	}
	var pgErr *pgconn.PgError
	if errors.Is(err, errTypesChanged) {
		return entrain.Retryable(err)
	}
	if !errors.As(err, &pgErr) || entrain.IsRetryable(dial.Classify(err)) {
		return dial.Classify(err)
	}
	if pgErr.Code == dial.StateNoPrivilege && t != nil {
		return x.explain(ctx, err, t)
	}
	if refusals[pgErr.Code[:2]] == "" {
		return dial.Classify(err)
	}
	what, next := "the rows that were copied", "mend the rows that the constraint names at the target"
	switch {
	case t != nil:
		what = "rows of table " + t.String()
		next = fmt.Sprintf("compare table %s at both ends, mend it at the target", tableSQL(t))
	case pgErr.TableName != "":
		what = "the rows that were copied into table " + sqltext.Table(pgErr.SchemaName, pgErr.TableName)
	}
	if place := copyPlace.FindStringSubmatch(pgErr.Where); place != nil {
		what += ", at row " + place[1] + " of the part"
		if place[2] != "" {
			what += ", column " + sqltext.Ident(place[2])
		}
	}
	if pgErr.ConstraintName != "" {
		what += ", because of constraint " + sqltext.Ident(pgErr.ConstraintName)
	}
	return &entrain.Stop{
		Code: "row_refused",
		Data: true,
		What: "the target refused " + what + keyOf(err) + "; existing rows have no position in the log: this step is undone, those before it stand",
		Why:  inWords(err),
		Next: next + "\n" + thenRun,
		Err:  err,
	}
}
