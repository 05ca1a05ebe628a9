package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// need is what a batch needs of one table at the target.
type need struct {
	Schema string   `json:"schema"`
	Name   string   `json:"name"`
	Rights []string `json:"rights"`
	Owned  bool     `json:"owned"` // the role has to be the owner of its sequences
}

// rightsOf are the rights that the statements for an operation use: a GRANT of
// any other would hide what lacks.
var rightsOf = map[entrain.Op][]string{
	entrain.OpInsert: {"SELECT", "INSERT", "UPDATE"}, // a row that is there already is updated
	entrain.OpRead:   {"SELECT", "INSERT", "UPDATE"},
	entrain.OpUpdate: {"SELECT", "UPDATE"},
	entrain.OpDelete: {"SELECT", "DELETE"},

	entrain.OpTruncate: {"TRUNCATE"},
}

// rightsFor are those of an operation as the session does it.
func (w *writer) rightsFor(op entrain.Op) []string {
	if w.cfg.SoftDelete.Column != "" && (op == entrain.OpDelete || op == entrain.OpTruncate) {
		op = entrain.OpUpdate
	}
	return rightsOf[op]
}

// lateRights are what a change takes besides if it comes late to a version gate: a row
// that lacks is stored, and a new key is a delete and an insert.
func (w *writer) lateRights(e *entrain.Event) []string {
	switch {
	case w.gate == nil || e.Op != entrain.OpUpdate:
		return nil
	case len(e.Before) == 0:
		return []string{"INSERT"}
	}
	return append([]string{"INSERT"}, w.rightsFor(entrain.OpDelete)...)
}

func (n *need) right(rights ...string) {
	for _, r := range rights {
		if !slices.Contains(n.Rights, r) {
			n.Rights = append(n.Rights, r)
		}
	}
}

// needs are those of the position's table and of the tables of the events,
// whatever shapes these have.
func (w *writer) needs(events []entrain.Event) []*need {
	list := []*need{{Schema: "entrain", Name: "position", Rights: []string{"SELECT", "UPDATE"}}}
	for _, name := range w.gate.tables() {
		list = append(list, &need{Schema: "entrain", Name: name, Rights: []string{"SELECT", "INSERT", "UPDATE", "DELETE"}})
	}
	byName := map[[2]string]*need{}
	of := func(t *entrain.Table) *need {
		name := [2]string{t.Schema, t.Name}
		n := byName[name]
		if n == nil {
			n = &need{Schema: t.Schema, Name: t.Name}
			byName[name] = n
			list = append(list, n)
		}
		return n
	}
	for i := range events {
		e := &events[i]
		if ofDouble(e) {
			t, rights := doubleNeeds(e)
			of(t).right(rights...)
			continue
		}
		if e.Table != nil && !e.Table.Shadow {
			of(e.Table).right(w.rightsFor(e.Op)...)
			if t := w.catalog.tables[e.Table]; e.Op == entrain.OpUpdate && t != nil && t.always >= 0 {
				of(e.Table).right("INSERT", "DELETE") // such a row is made anew
			}
			of(e.Table).right(w.lateRights(e)...)
			if e.Settling && e.Op == entrain.OpUpdate && len(e.Before) > 0 {
				of(e.Table).right("INSERT", "DELETE") // if its key changes, it may lack, or be there twice
			}
		}
		if e.Truncate == nil {
			continue
		}
		for _, t := range e.Truncate.Tables {
			n := of(t)
			n.right(w.rightsFor(entrain.OpTruncate)...)
			n.Owned = n.Owned || e.Truncate.RestartIdentity
		}
	}
	return list
}

// missingSQL says for each table what the role lacks: USAGE of the schema,
// rights on the table, membership in the table's owner. Sequences of columns
// always belong to the owner of the table.
const missingSQL = `SELECT w.schema, w.name, has_schema_privilege(n.oid, 'USAGE')::text,
  (SELECT coalesce(string_agg(r, ', ' ORDER BY i), '') FROM unnest(w.rights) WITH ORDINALITY AS u(r, i) WHERE NOT has_table_privilege(c.oid, r)),
  CASE WHEN w.owned AND NOT pg_has_role(c.relowner, 'USAGE') AND EXISTS (SELECT FROM pg_depend d JOIN pg_class s ON s.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_class'::regclass AND s.relkind = 'S')
    THEN pg_get_userbyid(c.relowner) ELSE '' END
FROM json_to_recordset($1::json) AS w(schema text, name text, rights text[], owned boolean)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name`

// explain turns errors that the sink can say more about into stops: it ends the
// transaction that was refused in order to ask. Any other error, and none, stays
// as it is.
func (w *writer) explain(ctx context.Context, err error, events []entrain.Event) error {
	var swap *swapError
	switch state := dial.SQLState(err); {
	case state == dial.StateNoPrivilege:
		return w.explainPrivilege(ctx, err, events)
	case errors.As(err, &swap):
		return w.explainSwap(ctx, swap)
	case state == stateForeignKey:
		return w.explainReference(ctx, err, events)
	case state == stateUndefinedTable || state == stateUndefinedColumn:
		return w.explainDouble(ctx, err, events)
	}
	return err
}

// explainPrivilege turns a refused privilege into a stop that says what to grant.
func (w *writer) explainPrivilege(ctx context.Context, err error, events []entrain.Event) error {
	list, fault := json.Marshal(w.needs(events))
	if fault != nil {
		return err
	}
	if _, fault = dial.QueryRows(ctx, w.conn, "ROLLBACK"); fault != nil {
		return err
	}
	rows, fault := dial.QueryRows(ctx, w.conn, missingSQL, string(list))
	if fault != nil {
		return err
	}
	general, fault := dial.QueryRows(ctx, w.conn, missingBesideSQL)
	if fault != nil {
		return err
	}
	if !settlesAny(events) {
		general = nil
	}
	return stopNoPrivilege(err, rows, general, w.catalog.role)
}

// missingBesideSQL says what copies need beside the tables and the role lacks.
const missingBesideSQL = `SELECT 'CREATE in the schema entrain', 'GRANT CREATE ON SCHEMA entrain TO ' || quote_ident(current_user)
WHERE NOT has_schema_privilege('entrain', 'CREATE') UNION ALL
SELECT 'TEMPORARY on the database', 'GRANT TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' TO ' || quote_ident(current_user)
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')`

// settlesAny reports whether rows are being copied.
func settlesAny(events []entrain.Event) bool {
	return slices.ContainsFunc(events, func(e entrain.Event) bool {
		return e.Settling || e.Op == entrain.OpRead || ofDouble(&e)
	})
}

// stopNoPrivilege takes the rows of missingSQL. If none of them lacks anything, it
// is not the table that the server refuses, but what the change sets off there.
func stopNoPrivilege(err error, rows, general [][]string, role string) error {
	who := sqltext.Ident(role)
	var lacks, next []string
	for _, row := range rows {
		table, rights, owner := sqltext.Table(row[0], row[1]), row[3], row[4]
		if row[2] == "false" {
			lacks = append(lacks, "USAGE of the schema of "+table)
			next = append(next, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", sqltext.Ident(row[0]), who))
		}
		if rights != "" {
			lacks = append(lacks, rights+" on "+table)
			next = append(next, fmt.Sprintf("GRANT %s ON %s TO %s;", rights, table, who))
		}
		if owner != "" {
			lacks = append(lacks, "the sequences of "+table+", which a truncate restarts and which are their owner's")
			next = append(next, fmt.Sprintf("ALTER TABLE %s OWNER TO %s;", table, who))
		}
	}
	for _, row := range general {
		lacks, next = append(lacks, row[0]), append(next, row[1]+";")
	}
	stop := &entrain.Stop{
		Code: "no_privilege",
		What: fmt.Sprintf("role %s lacks at the target: %s", who, strings.Join(lacks, "; ")),
		Why:  "the changes need it",
		Next: strings.Join(next, "\n"),
		Err:  err,
	}
	if len(next) == 0 {
		stop.What = fmt.Sprintf("role %s may not do at the target what the changes set off", who)
		stop.Why = "it has its rights on the tables; triggers, rules, defaults and policies there run with its rights, too"
		stop.Next = "grant what the server's message names, or make the trigger's function SECURITY DEFINER; then: entrain run FILE"
	}
	return stop
}
