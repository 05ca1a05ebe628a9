package capture

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// ddlPrefix is that of the messages by which event triggers at the source tell
// of statements that changed tables.
const ddlPrefix = "entrain.ddl"

// TypeName implements entrain.TypeNamer.
func (s *Source) TypeName(c entrain.Column) string { return sqltext.TypeName(c.Type, c.Modifier) }

// DDLScript implements entrain.DDLScripter.
func (s *Source) DDLScript() string { return ddlScript }

// Describe implements entrain.Describer.
func (s *Source) Describe(ctx context.Context, t *entrain.Table) ([]entrain.ColumnFacts, error) {
	var facts []entrain.ColumnFacts
	err := s.withConn(ctx, func(conn *pgconn.PgConn) error {
		row, err := dial.QueryRow(ctx, conn, "SELECT "+columnFactsSQL+` FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`, t.Schema, t.Name)
		if err != nil || row == nil || row[0] == "" {
			return err
		}
		return json.Unmarshal([]byte(row[0]), &facts)
	})
	if err != nil {
		return nil, fmt.Errorf("describe the columns of table %s: %w", t, err)
	}
	return facts, nil
}

// toldDDL reads a message of the event triggers. One with their prefix that they
// have not written is an application's.
func toldDDL(prefix, content []byte) (entrain.DDL, bool) {
	var d entrain.DDL
	if string(prefix) != ddlPrefix || json.Unmarshal(content, &d) != nil {
		return d, false
	}
	return d, d.Schema != "" && d.Table != "" && d.ID != 0 && d.Tag != ""
}

// told adds what a message tells of a statement, if it is about a table that is
// wanted.
func (a *assembler) told(d entrain.DDL, size int) {
	if !a.rels.wants(d.Schema, d.Table) {
		return
	}
	e := a.event(entrain.OpSchema, nil)
	e.Schema = &entrain.SchemaChange{DDL: []entrain.DDL{d}}
	a.cur.other += 2 * size
}
