package digest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// maxShown is how many characters of a key are shown.
const maxShown = 200

// statement is a query in SQL with its parameters.
type statement struct {
	sql  string
	args []string
}

// plan is a query of one end.
type plan struct {
	entrain.DigestQuery
	only    string // ONLY, for a table that others may inherit from
	typeSQL func(entrain.Column) string
}

// statement writes the query. The columns of its result are those of
// [entrain.Digest].
func (p plan) statement() statement {
	switch {
	case p.Of != nil:
		return p.ofKeys()
	case p.In != nil:
		buckets := make([]string, len(p.In))
		for i, b := range p.In {
			buckets[i] = strconv.Itoa(b)
		}
		return statement{p.byKey(p.rows("") + " WHERE " + p.bucket("y.kh") + " = ANY ($1::int8[])"), []string{"{" + strings.Join(buckets, ",") + "}"}}
	}
	return statement{sql: fmt.Sprintf(`SELECT b::text, '0', '', '', count(*)::text, sum(rh)::text, ''
FROM (SELECT %s AS b, y.rh FROM %s) z GROUP BY b`, p.bucket("y.kh"), p.rows(""))}
}

// bucket is the number of a key's bucket.
func (p plan) bucket(hash string) string { return fmt.Sprintf("(%s & %d)", hash, max(p.Buckets, 1)-1) }

// byKey groups rows, which are a FROM clause, by their keys.
func (p plan) byKey(rows string) string {
	key := "y.k"
	if len(p.Key) == 0 {
		key = "y.rh::text"
	}
	return fmt.Sprintf(`SELECT %s::text, g.kh::text, k, show, n::text, sum::text, v::text FROM (
  SELECT y.kh, %s AS k, min(left(y.k, %d)) AS show, count(*) AS n, sum(y.rh) AS sum, sum(y.v) AS v FROM %s GROUP BY 1, 2) g
ORDER BY g.kh, g.k COLLATE "C"`, p.bucket("g.kh"), key, maxShown, rows)
}

// rows is a FROM clause whose rows y have the key and the hashes of each row of
// the table: k and kh of the key, rh of the row, v of its version. A
// condition narrows the table t down.
func (p plan) rows(where string) string {
	row, key, version := p.record(p.all()), "", ""
	if len(p.Key) > 0 {
		key = p.record(p.Key) + " AS k, "
	}
	keyOf := "x.k"
	if key == "" {
		keyOf = "x.r"
	}
	if p.In != nil || p.Of != nil {
		version = ", t.tableoid::text || ' ' || t.xmin::text || ' ' || t.ctid::text AS at"
	}
	v := ""
	if version != "" {
		v = ", hashtextextended(x.at, 0) AS v"
	}
	return fmt.Sprintf(`(SELECT %[1]s AS k, %[2]s AS kh, %[3]s AS rh%[4]s
  FROM (SELECT %[5]s%[6]s AS r%[7]s FROM %[8]s%[9]s t%[10]s OFFSET 0) x OFFSET 0) y`,
		keyOf, p.hash(keyOf), p.hash("x.r"), v, key, row, version, p.only, sqltext.Table(p.Table.Schema, p.Table.Name), where)
}

// hash is 64 bits of a text.
func (p plan) hash(text string) string {
	if p.Portable {
		return "('x' || left(md5(convert_to(" + text + ", 'UTF8')), 16))::bit(64)::int8"
	}
	return "hashtextextended(" + text + ` COLLATE "C", 0)`
}

func (p plan) all() []int {
	all := make([]int, len(p.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

// record is the text of some columns.
func (p plan) record(columns []int) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = p.value(p.Columns[c])
	}
	return "ROW(" + strings.Join(values, ", ") + ")::text"
}

// value is a column as it is compared. One that has another type at the other
// end goes there as text, by the type's output function and not by its cast, and
// is read as that type.
func (p plan) value(c entrain.DigestColumn) string {
	column := "t." + sqltext.Ident(c.Name)
	if c.As == nil {
		return column
	}
	return fmt.Sprintf("CASE WHEN %[1]s IS DISTINCT FROM NULL THEN format('%%s', %[1]s) END::%[2]s", column, p.typeSQL(*c.As))
}

// ofKeys looks for single keys: by an index where the types allow, else by
// reading the table.
func (p plan) ofKeys() statement {
	if columns, ok := p.indexed(); ok {
		values, complete := fields(p.Of, len(columns))
		if complete {
			return p.byIndex(columns, values)
		}
	}
	if len(p.Key) == 0 {
		return statement{p.byKey(p.rows("") + " WHERE y.rh = ANY ($1::int8[])"), []string{"{" + strings.Join(p.Of, ",") + "}"}}
	}
	return statement{p.byKey(p.rows("") + " WHERE y.k = ANY ($1::text[])"), []string{array(p.Of)}}
}

func (p plan) byIndex(columns []entrain.Column, values [][]string) statement {
	var params, names, found, asked, args []string
	for i, c := range columns {
		params = append(params, fmt.Sprintf("$%d::text[]", i+1))
		names = append(names, fmt.Sprintf("k%d", i))
		found = append(found, "t."+sqltext.Ident(c.Name))
		asked = append(asked, fmt.Sprintf("u.k%d::%s", i, p.typeSQL(entrain.Column{Type: c.Type, Modifier: -1})))
		args = append(args, array(values[i]))
	}
	where := fmt.Sprintf(" WHERE (%s) IN (SELECT %s FROM unnest(%s) AS u(%s))", strings.Join(found, ", "), strings.Join(asked, ", "),
		strings.Join(params, ", "), strings.Join(names, ", "))
	return statement{p.byKey(p.rows(where)), args}
}

// indexed returns the columns of the key if they can be compared as what they
// are: of the system's types, and not read as others.
func (p plan) indexed() ([]entrain.Column, bool) {
	var columns []entrain.Column
	for _, i := range p.Key {
		c := p.Columns[i]
		at := slices.IndexFunc(p.Table.Columns, func(t entrain.Column) bool { return t.Name == c.Name })
		if at < 0 || c.As != nil || strings.Contains(p.Table.Columns[at].Type, ".") {
			return nil, false
		}
		columns = append(columns, p.Table.Columns[at])
	}
	return columns, len(columns) > 0
}

// array writes texts as an array constant.
func array(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// fields takes records apart, by column. It is not complete if one has a NULL,
// which no = finds, or not n columns.
func fields(records []string, n int) (columns [][]string, complete bool) {
	columns = make([][]string, n)
	for _, r := range records {
		values, ok := parseRecord(r)
		if !ok || len(values) != n {
			return nil, false
		}
		for i, v := range values {
			columns[i] = append(columns[i], v)
		}
	}
	return columns, true
}

// parseRecord reads the text of a record: values in parentheses, with commas
// between them, in quotes where need be. It is not ok if a value is NULL.
func parseRecord(text string) (values []string, ok bool) {
	if len(text) < 2 || text[0] != '(' || text[len(text)-1] != ')' {
		return nil, false
	}
	for rest := text[1:]; ; {
		value, after, ok := parseField(rest)
		if !ok {
			return nil, false
		}
		values = append(values, value)
		if after == ")" {
			return values, true
		}
		if after == "" || after[0] != ',' {
			return nil, false
		}
		rest = after[1:]
	}
}

// parseField reads up to the next comma or the end.
func parseField(text string) (value, rest string, ok bool) {
	var b strings.Builder
	quoted, inside := false, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' || c == '"' && inside && i+1 < len(text) && text[i+1] == '"':
			i++
			if i == len(text) {
				return "", "", false
			}
			b.WriteByte(text[i])
		case c == '"':
			quoted, inside = true, !inside
		case !inside && (c == ',' || c == ')'):
			return b.String(), text[i:], quoted || b.Len() > 0
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
