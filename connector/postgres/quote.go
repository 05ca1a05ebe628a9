package postgres

import "strings"

// quoteIdent returns name as a quoted SQL identifier. Every identifier that
// enters a statement goes through it.
func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteTable returns schema.name, both quoted.
func quoteTable(schema, name string) string {
	return quoteIdent(schema) + "." + quoteIdent(name)
}

// quoteLiteral returns s as an SQL string constant that reads the same under
// both settings of standard_conforming_strings.
func quoteLiteral(s string) string {
	quoted := `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
	if strings.Contains(s, `\`) {
		return ` E` + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// replicationLiteral returns s as a string constant of the replication
// commands, whose grammar knows no escapes but the doubled quote.
func replicationLiteral(s string) string {
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
