package postgres

import (
	"strings"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// quoteIdent returns name as a quoted SQL identifier. Every identifier that
// enters a statement goes through it.
func quoteIdent(name string) string { return sqltext.Ident(name) }

// quoteTable returns schema.name, both quoted.
func quoteTable(schema, name string) string { return sqltext.Table(schema, name) }

// quoteLiteral returns s as an SQL string constant that reads the same under
// both settings of standard_conforming_strings.
func quoteLiteral(s string) string { return sqltext.Literal(s) }

// replicationLiteral returns s as a string constant of the replication
// commands, whose grammar knows no escapes but the doubled quote.
func replicationLiteral(s string) string {
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
