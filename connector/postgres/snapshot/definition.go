package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Dialect is how definitions name their SQL.
const dialect = "postgres"

// definitions are being gathered, by the oids of their tables.
type definitions struct {
	byOID map[string]*defined
}

// defined is a table whose definition is being gathered.
type defined struct {
	*table
	name      string          // quoted
	delivered map[string]bool // names of the columns that the stream has
	def       *entrain.Definition
	made      []string // what of Before comes ahead of the table
	body      []string // the table's columns and constraints
}

// define reads how the tables are made. A table gets the columns that the stream
// has, and what of keys, constraints and indexes needs no others.
func (c catalog) define(ctx context.Context, tables []*table) error {
	d := definitions{map[string]*defined{}}
	var oids []string
	for _, t := range tables {
		t.definition = &entrain.Definition{Dialect: dialect}
		one := &defined{table: t, name: sqltext.Table(t.shape.Schema, t.shape.Name), def: t.definition,
			delivered: map[string]bool{}}
		for _, col := range t.shape.Columns {
			one.delivered[col.Name] = true
		}
		one.schema(sqltext.Ident(t.shape.Schema))
		d.byOID[t.oid] = one
		oids = append(oids, t.oid)
	}
	for _, step := range []struct {
		what, sql string
		take      func(t *defined, r []string) error
	}{
		{"types", typesSQL, (*defined).typ}, {"extensions", extensionsSQL, (*defined).extension},
		{"columns", definedColumnsSQL, (*defined).column}, {"constraints", constraintsSQL, d.constraint}, {"indexes", indexesSQL, (*defined).index},
	} {
		rows, err := dial.QueryRows(ctx, c.conn, step.sql, arrayText(oids))
		if err != nil {
			return fmt.Errorf("read %s: %w", step.what, err)
		}
		for _, r := range rows {
			t := d.byOID[r[0]]
			if t.once && (step.what == "constraints" || step.what == "indexes") {
				continue
			}
			if err := step.take(t, r); err != nil {
				return fmt.Errorf("read %s of table %s: %w", step.what, t.shape, err)
			}
		}
	}
	for _, t := range d.byOID {
		create := "CREATE TABLE IF NOT EXISTS " + t.name + " (\n  " + strings.Join(t.body, ",\n  ") + "\n)"
		t.def.Before = append(t.made, create)
	}
	return nil
}

// first adds a statement ahead of the table, once.
func (t *defined) first(sql string) {
	if !slices.Contains(t.made, sql) {
		t.made = append(t.made, sql)
	}
}

func (t *defined) schema(quoted string) {
	if quoted != "public" && quoted != `"public"` && quoted != "pg_catalog" {
		// Even IF NOT EXISTS takes the right to make a schema that is there.
		t.first(unless("to_regnamespace("+sqltext.Literal(quoted)+") IS NOT NULL", "CREATE SCHEMA "+quoted))
	}
}

// typ takes a row of typesSQL.
func (t *defined) typ(r []string) error {
	columns, schema, extension, extensionSchema, name, create := r[1], r[2], r[3], r[4], r[5], r[6]
	var names []string
	if err := json.Unmarshal([]byte(columns), &names); err != nil {
		return err
	}
	if !slices.ContainsFunc(names, func(n string) bool { return t.delivered[n] }) {
		return nil
	}
	if extension != "" {
		return t.extension([]string{"", extension, extensionSchema})
	}
	t.schema(schema)
	t.first(unless("to_regtype("+sqltext.Literal(name)+") IS NOT NULL", strings.Replace(create, "%s", name, 1)))
	return nil
}

// extension takes a row of extensionsSQL.
func (t *defined) extension(r []string) error {
	name, schema := r[1], r[2]
	t.schema(schema)
	t.first("CREATE EXTENSION IF NOT EXISTS " + name + " WITH SCHEMA " + schema + " CASCADE")
	return nil
}

// unless is a statement that executes another one unless a condition holds, also
// if somebody else does so at the same time.
func unless(condition, sql string) string {
	return "DO " + strings.TrimSpace(sqltext.Literal("BEGIN IF NOT ("+condition+") THEN "+sql+
		"; END IF; EXCEPTION WHEN duplicate_object OR duplicate_schema OR unique_violation THEN NULL; END"))
}

// column takes a row of definedColumnsSQL. A generated column that the stream
// has is an ordinary one at the target; one that it has not is generated there,
// and stored, since not every version knows another way.
func (t *defined) column(r []string) error {
	number, name, generated, expression := r[1], r[2], r[6], r[7]
	var uses []string
	if err := json.Unmarshal([]byte(r[8]), &uses); err != nil {
		return err
	}
	delivered := t.delivered[name]
	if !delivered && (generated == "" || !t.has(uses)) {
		return nil
	}
	if t.once { // a plain table of the same types
		generated, expression, r[5], r[9] = "", "", "false", "false"
	}
	t.numbers[number] = true // by now it may be one that only the target has
	col := sqltext.Ident(name) + " " + r[3]
	if r[4] != "" {
		col += " COLLATE " + r[4]
	}
	notNull := r[5] == "true"
	switch sequence := r[9] == "true"; {
	case generated != "" && !delivered:
		col += " GENERATED ALWAYS AS (" + expression + ") STORED"
	case generated != "":
	case sequence && notNull && r[11] == "true" && (expression == "" || isNextValue(expression)):
		col += " GENERATED BY DEFAULT AS IDENTITY"
		if r[10] != "" {
			col += " (" + r[10] + ")"
		}
	case expression != "" && !sequence:
		col += " DEFAULT " + expression
	}
	if notNull {
		col += " NOT NULL"
	}
	t.body = append(t.body, col)
	return nil
}

// isNextValue reports whether a default is the next value of a sequence and
// nothing else.
func isNextValue(expression string) bool {
	return strings.HasPrefix(expression, "nextval('") && strings.HasSuffix(expression, "'::regclass)")
}

// has reports whether the table will have all the columns of these numbers.
func (t *defined) has(numbers []string) bool {
	return !slices.ContainsFunc(numbers, func(n string) bool { return !t.numbers[n] })
}

// constraint takes a row of constraintsSQL.
func (d definitions) constraint(t *defined, r []string) error {
	name, kind, def, other := r[1], r[2], r[3], d.byOID[r[5]]
	var columns, others []string
	if err := json.Unmarshal([]byte(r[4]), &columns); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(r[6]), &others); err != nil {
		return err
	}
	if !t.has(columns) {
		return nil
	}
	byIndex := r[7] != ""
	if byIndex {
		def = r[7]
	}
	add := unless("EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = "+sqltext.Literal(t.name)+"::pg_catalog.regclass AND conname = "+
		sqltext.Literal(r[8])+")", "ALTER TABLE "+t.name+" ADD CONSTRAINT "+name+" "+def)
	switch {
	case kind == "p" && !byIndex:
		t.body = append(t.body, "CONSTRAINT "+name+" "+def)
	case kind != "f":
		t.def.After = append(t.def.After, add)
	case other != nil && other.has(others):
		t.def.References = append(t.def.References, add)
	}
	return nil
}

// index takes a row of indexesSQL.
func (t *defined) index(r []string) error {
	create, name, on, target, def := r[1], r[2], r[3], r[4], r[5]
	var columns []string
	if err := json.Unmarshal([]byte(r[6]), &columns); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(def, create+name+on)
	switch {
	case !ok:
		// The server writes it with the names of now, which need not be those of the view.
		return entrain.Retryable(fmt.Errorf("unexpected index %q: its table was renamed meanwhile", def))
	case !t.has(columns):
		return nil
	}
	sql := create + "IF NOT EXISTS " + name + " ON " + target + rest
	t.def.Indexes = append(t.def.Indexes, sql)
	return nil
}
