package snapshot

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// tableKey is how the rows of a table are told apart and put in order: by the
// index that identifies them in the log, with its operators and collations, so
// that what the index takes for two keys the order does, too, and the server can
// read along it.
type tableKey []keyPart

// keyPart is a column of the index; column and place are where it is among the
// columns of the shape and among those of them that are Key.
type keyPart struct {
	column, place int
	expr          string // the column with the index's collation
	typ           string // of constants to compare with: no domain, no modifier
	// Operators of the index; least is greater or equal.
	less, equal, least, greater string
}

// keysSQL lists the columns of the indexes that identify tables, in their order.
// The operators are those of the index.
const keysSQL = sqltext.BaseTypes + `SELECT c.oid::text, a.attname, quote_ident(bn.nspname) || '.' || quote_ident(bt.typname),
  coalesce(' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname), ''),
  (SELECT string_agg(quote_ident(n.nspname) || '.' || p.oprname, ' ' ORDER BY m.amopstrategy)
    FROM pg_amop m JOIN pg_operator p ON p.oid = m.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace
    WHERE m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype
    AND m.amoppurpose = 's' AND m.amopstrategy IN (1, 3, 4, 5))
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary ELSE false END
CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS k(n)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = (i.indkey::int2[])[k.n]
JOIN bases b ON b.typ = a.atttypid JOIN pg_type bt ON bt.oid = b.base JOIN pg_namespace bn ON bn.oid = bt.typnamespace
JOIN pg_opclass o ON o.oid = (i.indclass::oid[])[k.n]
LEFT JOIN pg_collation l ON l.oid = (i.indcollation::oid[])[k.n] LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
WHERE c.oid = ANY ($1::oid[]) ORDER BY c.oid, k.n`

// keys reads the keys of tables. A table that has none, or not all of it among
// its columns, gets a reason instead.
func (c catalog) keys(ctx context.Context, tables map[string]*keyedTable) error {
	var oids []string
	for oid := range tables {
		oids = append(oids, oid)
	}
	rows, err := dial.QueryRows(ctx, c.conn, keysSQL, arrayText(oids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		t := tables[r[0]]
		if t.refused != "" {
			continue
		}
		part, found := keyPartOf(t.shape, r[1])
		operators := strings.Split(r[4], " ")
		switch {
		case !found:
			t.refused = fmt.Sprintf("its key column %q is not published", r[1])
			continue
		case len(operators) != 4:
			return fmt.Errorf("table %s: operators of column %q: %q", t.shape, r[1], r[4])
		}
		part.expr, part.typ = sqltext.Ident(r[1])+r[3], r[2]
		part.less, part.equal, part.least, part.greater = operator(operators[0]), operator(operators[1]), operator(operators[2]), operator(operators[3])
		t.key = append(t.key, part)
	}
	for _, t := range tables {
		if t.refused == "" && len(t.key) == 0 {
			t.refused = "nothing identifies its rows: it has no primary key and no REPLICA IDENTITY USING INDEX"
		}
	}
	return nil
}

func operator(name string) string { return "OPERATOR(" + name + ")" }

// keyPartOf finds a key column by its name.
func keyPartOf(shape *entrain.Table, name string) (part keyPart, found bool) {
	for i, c := range shape.Columns {
		switch {
		case c.Name == name && c.Key:
			part.column = i
			return part, true
		case c.Key:
			part.place++
		}
	}
	return part, false
}

// order is what ORDER BY has.
func (k tableKey) order() string {
	var terms []string
	for _, p := range k {
		terms = append(terms, p.expr+" USING "+p.less)
	}
	return strings.Join(terms, ", ")
}

// is is the condition that a row has the key.
func (k tableKey) is(key []string) string {
	var terms []string
	for _, p := range k {
		terms = append(terms, p.expr+" "+p.equal+" "+p.value(key))
	}
	return strings.Join(terms, " AND ")
}

// behind is the condition that a row comes after the key. Where one operator
// compares all columns the server finds the place in the index; else only the
// first column's.
func (k tableKey) behind(key []string) string {
	var exprs, values []string
	for _, p := range k {
		if p.greater != k[0].greater {
			return k.behindStepwise(key)
		}
		exprs, values = append(exprs, p.expr), append(values, p.value(key))
	}
	return "(" + strings.Join(exprs, ", ") + ") " + k[0].greater + " (" + strings.Join(values, ", ") + ")"
}

func (k tableKey) behindStepwise(key []string) string {
	first := k[0]
	value := first.value(key)
	behind := first.expr + " " + first.greater + " " + value
	if len(k) == 1 {
		return behind
	}
	return first.expr + " " + first.least + " " + value +
		" AND (" + behind + " OR " + first.expr + " " + first.equal + " " + value + " AND (" + k[1:].behindStepwise(key) + "))"
}

// value is a constant of the column's type, without a modifier, which would cut
// it to size.
func (p keyPart) value(key []string) string {
	return "CAST(" + sqltext.Literal(key[p.place]) + " AS " + p.typ + ")"
}
