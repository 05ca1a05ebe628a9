// Package sqltext writes the pieces of SQL that several packages need. All of
// it is pure text; every identifier that enters a statement goes through
// [Ident].
package sqltext

import "strings"

// Ident returns name as a quoted SQL identifier.
func Ident(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// Idents returns the names quoted, with commas between them.
func Idents(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = Ident(name)
	}
	return strings.Join(quoted, ", ")
}

// Table returns schema.name, both quoted.
func Table(schema, name string) string { return Ident(schema) + "." + Ident(name) }

// Literal returns s as an SQL string constant that reads the same under both
// settings of standard_conforming_strings.
func Literal(s string) string {
	quoted := `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
	if strings.Contains(s, `\`) {
		return ` E` + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// Type quotes the name of a type as [entrain.Column] has it: "int4" or
// "schema.type".
//
// [entrain.Column]: https://pkg.go.dev/github.com/entrainsync/entrain#Column
func Type(typ string) string {
	if schema, name, ok := strings.Cut(typ, "."); ok {
		return Table(schema, name)
	}
	return Table("pg_catalog", typ)
}

// ReplicaIdentity is an expression for what identifies a row of a relation in
// the log: "*" for all columns, the quoted columns of an index, or an empty
// text or NULL for nothing. alias is that of pg_class. It judges as the server
// does: an index that is deferrable does not count.
func ReplicaIdentity(alias string) string {
	return strings.ReplaceAll(`CASE c.relreplident WHEN 'f' THEN '*' WHEN 'n' THEN '' ELSE (
		SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attname)
		FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid
			AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
		WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
			AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END`,
		"c.", alias+".")
}

// Sequences lists where columns of tables, whose oids are the array $1, take
// their values from: the default's sequence, or else one that the column owns,
// by identity or serial. A row has the table's oid, the column's number and
// name, schema and name of the sequence, increment, least and largest number,
// the last number (empty if none was given out, or it may not be read), whether
// the role may read and set it, and the owner.
const Sequences = `SELECT DISTINCT ON (x.rel, x.num) x.rel::text, x.num::text, a.attname, n.nspname, s.relname, q.seqincrement::text,
  q.seqmin::text, q.seqmax::text, coalesce(CASE WHEN may.read THEN pg_sequence_last_value(s.oid) END::text, ''),
  may.read::text, has_sequence_privilege(s.oid, 'UPDATE')::text, pg_get_userbyid(s.relowner)
FROM (
  SELECT ad.adrelid AS rel, ad.adnum AS num, d.refobjid AS seq, 1 AS rank FROM pg_attrdef ad
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid AND d.refclassid = 'pg_class'::regclass
  WHERE ad.adrelid = ANY ($1::oid[])
  UNION ALL SELECT d.refobjid, d.refobjsubid, d.objid, 2 FROM pg_depend d
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND d.refobjid = ANY ($1::oid[]) AND d.refobjsubid > 0) x
JOIN pg_class s ON s.oid = x.seq AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_attribute a ON a.attrelid = x.rel AND a.attnum = x.num,
LATERAL (SELECT has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(s.oid, 'USAGE, SELECT') AS read) may
ORDER BY x.rel, x.num, x.rank`
