package apply

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// alterPatience is how long a change of a target table waits for its readers;
// other sessions queue behind it meanwhile.
const alterPatience = "10s"

// schemaColumnsSQL are the columns of the target's table as the log would have
// them: number, name, type, modifier, whether NULL is refused, whether there is a
// default, whether the column is in the primary key.
const schemaColumnsSQL = sqltext.BaseTypes + `SELECT a.attname, b.name, CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE b.typmod END::text,
  a.attnotnull::text, (a.atthasdef OR a.attidentity <> '')::text,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[]))::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN bases b ON b.typ = a.atttypid
WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped`

// held is a column of the target's table.
type held struct {
	column          entrain.Column
	notNull, filled bool // filled: it has a default
	inKey           bool
}

// alteration makes one change of a table's shape at the target.
type alteration struct {
	w      *writer
	event  *entrain.Event
	target map[string]held
	sql    []string
	// open are the changes that a person has to decide on; manual is their SQL.
	open   []string
	manual []string
	code   string
}

// alter brings the target's table in step with a change of shape, in the open
// transaction, as far as the policies say so; else it is a stop.
func (w *writer) alter(ctx context.Context, e *entrain.Event) error {
	a := &alteration{w: w, event: e}
	if err := a.look(ctx); err != nil {
		return err
	}
	if len(a.target) == 0 {
		return w.catalog.missing(ctx, e.Table)
	}
	for i := range e.Schema.Columns {
		if err := a.column(ctx, &e.Schema.Columns[i]); err != nil {
			return err
		}
	}
	if a.code != "" {
		return about(e.Table, a.stop())
	}
	if e.Schema.Resync != "" {
		w.log.Warn("rows at the target may differ from the source's since the table's shape has changed: they are to be copied anew",
			"table", e.Table.String(), "why", e.Schema.Resync, "event", e.ID())
	}
	if len(a.sql) == 0 {
		return nil
	}
	return a.execute(ctx)
}

// look reads what the target has.
func (a *alteration) look(ctx context.Context) error {
	t := a.event.Table
	rows, err := dial.QueryRows(ctx, a.w.conn, schemaColumnsSQL, t.Schema, t.Name)
	if err != nil {
		return fmt.Errorf("read the columns of table %s at the target: %w", t, err)
	}
	a.target = map[string]held{}
	for _, r := range rows {
		modifier, _ := strconv.ParseInt(r[2], 10, 32)
		a.target[r[0]] = held{column: entrain.Column{Name: r[0], Type: r[1], Modifier: int32(modifier)},
			notNull: r[3] == "true", filled: r[4] == "true", inKey: r[5] == "true"}
	}
	return nil
}

// column decides on one change.
func (a *alteration) column(ctx context.Context, c *entrain.ColumnChange) error {
	policy := &a.w.cfg.SchemaChanges
	switch c.Kind {
	case entrain.ColumnAdded:
		return a.add(ctx, c, policy.AddColumn)
	case entrain.ColumnDropped:
		a.drop(c.Before.Name, policy.DropColumn)
	case entrain.ColumnRenamed:
		return a.rename(ctx, c, policy.Rename)
	case entrain.ColumnRetyped:
		return a.retype(ctx, c)
	}
	return nil
}

func (a *alteration) add(ctx context.Context, c *entrain.ColumnChange, policy string) error {
	if _, there := a.target[c.After.Name]; there {
		return nil
	}
	sql, err := a.addSQL(ctx, c)
	if err != nil {
		return err
	}
	if policy == policyStop {
		a.decide("schema_add", "column "+c.After.Name+" was added", sql)
		return nil
	}
	a.sql = append(a.sql, sql...)
	return nil
}

// addSQL adds a column with what rows that were there have at the source. A
// default that is no constant stays at the source, which sends a value for each
// row. Expressions of the source are never executed here.
func (a *alteration) addSQL(ctx context.Context, c *entrain.ColumnChange) ([]string, error) {
	typ, err := a.typeOf(ctx, *c.After)
	if err != nil {
		return nil, err
	}
	name := sqltext.Ident(c.After.Name)
	sql := a.alterTable() + "ADD COLUMN IF NOT EXISTS " + name + " " + typ
	f := c.Facts
	if f == nil || f.Fill == nil {
		return []string{sql + ";"}, nil
	}
	sql += " DEFAULT " + strings.TrimSpace(sqltext.Literal(*f.Fill)) + "::" + typ
	switch {
	case f.NotNull && f.Constant:
		return []string{sql + " NOT NULL;"}, nil
	case f.Constant:
		return []string{sql + ";"}, nil
	}
	return []string{sql + ";", a.alterTable() + "ALTER COLUMN " + name + " DROP DEFAULT;"}, nil
}

func (a *alteration) drop(name, policy string) {
	old, there := a.target[name]
	if !there || hasColumn(a.event.Table, name) {
		return
	}
	column := sqltext.Ident(name)
	drop, keep := a.alterTable()+"DROP COLUMN "+column+";", a.alterTable()+"ALTER COLUMN "+column+" DROP NOT NULL;"
	mustHave := old.notNull && !old.filled
	switch {
	case policy == policyApply:
		a.sql = append(a.sql, drop)
	case policy == policyStop:
		a.decide("schema_drop", "column "+name+" was dropped", []string{drop})
	case mustHave && old.inKey:
		a.decide("schema_drop", "column "+name+" was dropped, which is in the target's primary key", []string{drop})
	case mustHave:
		a.sql = append(a.sql, keep)
	}
}

func (a *alteration) rename(ctx context.Context, c *entrain.ColumnChange, policy string) error {
	if _, there := a.target[c.After.Name]; there {
		a.drop(c.Before.Name, a.w.cfg.SchemaChanges.DropColumn)
		return nil
	}
	old, there := a.target[c.Before.Name]
	if !there {
		return a.add(ctx, c, a.w.cfg.SchemaChanges.AddColumn)
	}
	sql := a.alterTable() + "RENAME COLUMN " + sqltext.Ident(c.Before.Name) + " TO " + sqltext.Ident(c.After.Name) + ";"
	if policy == policyApply && !c.Guessed {
		a.sql = append(a.sql, sql)
		a.target[c.After.Name] = old
		return nil
	}
	what := fmt.Sprintf("column %s was renamed to %s", c.Before.Name, c.After.Name)
	lines := []string{sql}
	if c.Guessed {
		what = fmt.Sprintf("column %s is gone and column %s is new: it was renamed, or dropped and the other one added", c.Before.Name, c.After.Name)
		added, err := a.addSQL(ctx, c)
		if err != nil {
			return err
		}
		lines = append(lines, alternative(added)...)
	}
	a.decide("schema_rename", what, lines)
	return nil
}

// alternative is SQL in comments. A name with a line break would end one, so that
// such SQL is left out.
func alternative(sql []string) []string {
	lines := []string{"-- or, if it was dropped and another one added, instead:"}
	for _, s := range sql {
		if strings.ContainsAny(s, "\r\n") {
			return nil
		}
		lines = append(lines, "--   "+s)
	}
	return lines
}

func (a *alteration) retype(ctx context.Context, c *entrain.ColumnChange) error {
	policy := &a.w.cfg.SchemaChanges
	has, there := a.target[c.After.Name]
	if !there {
		has, there = a.target[c.Before.Name]
	}
	if !there || widens(*c.After, has.column) {
		return nil
	}
	typ, err := a.typeOf(ctx, *c.After)
	if err != nil {
		return err
	}
	column := sqltext.Ident(c.After.Name)
	sql := a.alterTable() + "ALTER COLUMN " + column + " TYPE " + typ
	kind, how := "schema_retype", policy.Retype
	if widens(has.column, *c.After) && widens(*c.Before, *c.After) {
		kind, how = "schema_widen", policy.Widen
	} else {
		sql += " USING " + column + "::" + typ
	}
	if how == policyApply {
		a.sql = append(a.sql, sql+";")
		return nil
	}
	a.decide(kind, fmt.Sprintf("the type of column %s became %s", c.After.Name, typ), []string{sql + ";"})
	return nil
}

// decide leaves a change to a person.
func (a *alteration) decide(code, what string, sql []string) {
	if a.code == "" {
		a.code = code
	}
	a.open = append(a.open, what)
	a.manual = append(a.manual, sql...)
}

func (a *alteration) alterTable() string {
	return "ALTER TABLE " + sqltext.Table(a.event.Table.Schema, a.event.Table.Name) + " "
}

// typeOf is how the target writes the type of a column of the source.
func (a *alteration) typeOf(ctx context.Context, c entrain.Column) (string, error) {
	row, err := dial.QueryRow(ctx, a.w.conn, "SELECT format_type(to_regtype($1), $2::int)", sqltext.Type(c.Type), fmt.Sprint(c.Modifier))
	if err != nil {
		return "", fmt.Errorf("look up type %s at the target: %w", c.Type, err)
	}
	if row == nil || row[0] == "" || row[0] == "-" {
		return "", a.stopType(c)
	}
	return row[0], nil
}

// execute makes the changes, in the open transaction.
func (a *alteration) execute(ctx context.Context) error {
	f := takeOff(ctx, a.w.conn, a.w.stmts, a.w.exec.sent)
	f.add(call{sql: "SET LOCAL lock_timeout = '" + alterPatience + "'"})
	for _, sql := range a.sql {
		f.add(call{sql: sql})
	}
	f.add(call{sql: "SET LOCAL lock_timeout TO DEFAULT"})
	at, err := f.land(ignoreRows)
	a.w.exec.sent = f.sent
	if err != nil {
		return a.refused(at, err)
	}
	a.w.forgetTables()
	clear(a.w.pinned)
	event := *a.event // the batch may be gone when the transaction ends
	a.w.catalog.altered = append(a.w.catalog.altered, altered{&event, a.sql})
	return nil
}
