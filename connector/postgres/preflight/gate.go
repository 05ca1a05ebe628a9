package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Gate is what a pipeline file says of the version gate and of soft deletes.
type Gate struct {
	// On: the gate is on.
	On bool
	// Strategy is the conflict strategy that the file names, empty for none.
	Strategy string
	// Family is the pipeline's name in the gate's tables.
	Family string
	// SoftDelete is the column that marks deleted rows, empty for none.
	SoftDelete string
	// Tables are the gate's tables, without the schema; Relations is how many there are
	// with their indexes that have names.
	Tables    []string
	Relations int
}

// gateState is what the catalog says of the gate's tables.
type gateState struct {
	there, writable, readable bool
}

// marker is a trigger that names the column which marks deleted rows.
type marker struct {
	relation, name string
	ours           bool // it fires in our sessions
}

const (
	// gateSQL counts what there is of the gate's tables ($1), says whether our role may
	// use all of them, and whether it can read what the gates know.
	gateSQL = `SELECT count(*)::text,
  coalesce(bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
    AND has_table_privilege(c.oid, 'DELETE')) FILTER (WHERE c.relkind = 'r'), true)::text,
  coalesce(bool_or(c.relname = 'gate' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')), false)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relkind IN ('r', 'i') AND (c.relname IN (SELECT json_array_elements_text($1::json)) OR c.relname = 'row_version_deleted')`

	// gateSharedSQL lists the tables that gates of other pipelines than $1 know, as they
	// are named there.
	gateSharedSQL = `SELECT name, min(pipeline) FROM entrain.gate WHERE kind = 'floor' AND pipeline <> $1 GROUP BY name`

	// markingSQL lists enabled triggers of the tables $1 and their partitions that fire for
	// an update of the column $2, or whose function has its name in its text, also as it is
	// quoted ($3).
	markingSQL = `WITH family AS (
  SELECT r.oid AS root, r.oid AS rel FROM pg_class r WHERE r.oid = ANY ($1::oid[])
  UNION SELECT r.oid, p.relid::oid FROM pg_class r, pg_partition_tree(r.oid) p WHERE r.oid = ANY ($1::oid[]) AND r.relkind = 'p')
SELECT family.root::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname,
  (t.tgenabled = 'A' OR t.tgenabled = CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)::text
FROM family JOIN pg_class c ON c.oid = family.rel JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_trigger t ON t.tgrelid = family.rel AND NOT t.tgisinternal AND t.tgenabled <> 'D' JOIN pg_proc p ON p.oid = t.tgfoid
WHERE position(lower($2) IN lower(p.prosrc)) > 0 OR position(lower($3) IN lower(p.prosrc)) > 0 OR EXISTS (
  SELECT FROM pg_attribute a WHERE a.attrelid = family.rel AND a.attnum = ANY (t.tgattr::int2[]) AND a.attname = $2)
ORDER BY 1, 2, 3`
)

// readGate asks for what the judges of the gate and of soft deletes have to know.
func (f *targetFacts) readGate(ctx context.Context, ask Ask, d targetDetails) error {
	if f.cfg.Gate.On {
		if err := f.readGateTables(ctx, ask); err != nil {
			return fmt.Errorf("look for the version gate's tables: %w", err)
		}
	}
	if f.cfg.Gate.SoftDelete == "" {
		return nil
	}
	rows, err := ask(ctx, markingSQL, d.oids, f.cfg.Gate.SoftDelete, strings.Trim(sqltext.Ident(f.cfg.Gate.SoftDelete), `"`))
	if err != nil {
		return fmt.Errorf("read triggers: %w", err)
	}
	for _, r := range rows {
		t := d.byOID[r[0]]
		t.marking = append(t.marking, marker{r[1], r[2], r[3] == "true"})
	}
	return nil
}

func (f *targetFacts) readGateTables(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, gateSQL, jsonText(f.cfg.Gate.Tables))
	if err != nil {
		return err
	}
	r := rows[0]
	f.gate = gateState{there: integer(r[0]) == int64(f.cfg.Gate.Relations), writable: r[1] == "true", readable: r[2] == "true"}
	if !f.gate.readable {
		return nil
	}
	if rows, err = ask(ctx, gateSharedSQL, f.cfg.Gate.Family); err != nil {
		return err
	}
	others := map[string]string{}
	for _, r := range rows {
		others[r[0]] = r[1]
	}
	for _, t := range f.tables {
		t.gatedBy = others[t.from.String()]
	}
	return nil
}

func gated(f *targetFacts) bool     { return f.source != nil && f.cfg.Gate.On }
func ofTheGate(f *targetFacts) bool { return f.cfg.Gate.Strategy != "" }
func marks(f *targetFacts) bool     { return f.source != nil && f.cfg.Gate.SoftDelete != "" }

// judgeGateRights asks whether the versions can be kept beside the data. Where not even
// the position can, that finding's fix makes these tables, too.
func judgeGateRights(f *targetFacts) []entrain.Finding {
	p := f.position
	switch {
	case f.superuser || !f.keepsPosition() || !p.schema:
		return nil
	case p.schemaUsable && f.gate.writable && (f.gate.there || p.schemaWritable):
		return nil
	}
	return one(failure(f.where, "role "+sqltext.Ident(f.role)+" may not make or use the version gate's tables (entrain."+
		strings.Join(f.cfg.Gate.Tables, ", entrain.")+"): the versions of rows are kept beside them", f.ownSchema()...))
}

// judgeGateOff is about a strategy that nothing follows.
func judgeGateOff(f *targetFacts) []entrain.Finding {
	if f.cfg.Gate.On {
		return nil
	}
	return one(warning("pipeline file", "conflict_strategy: "+f.cfg.Gate.Strategy+" is named and version_gate is false: no versions are kept or compared, "+
		"and what is delivered late overwrites what is newer", entrain.Fix{Where: "pipeline file", Config: "sink:\n  version_gate: true\n"}))
}

// changing calls do for the tables that will get changes, which are there or will be made.
func (f *targetFacts) changing(do func(t *targetTable)) {
	for _, t := range f.tables {
		if (t.plain() || f.makes(t)) && (t.copied == nil || !t.copied.Once) {
			do(t)
		}
	}
}

func judgeGateKey(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	const leave = ", or leave the table out (source.tables.exclude)"
	f.changing(func(t *targetTable) {
		key := t.key()
		switch {
		case f.makes(t) && t.from.FullIdentity: // it gets the source's primary key, if there is one
			return
		case len(key) == 0:
			found = append(found, failure("table "+t.String(), "it has no key, by which the version gate keeps the version of each row: give it a primary key at both ends"+leave))
			return
		}
		if t.plain() {
			found = append(found, f.judgeArbiter(t, "the version gate stores rows by ON CONFLICT")...)
		}
		found = append(found, f.judgeKeyTexts(t, key)...)
	})
	return found
}

// judgeArbiter asks whether ON CONFLICT can find a row of the table by its key.
func (f *targetFacts) judgeArbiter(t *targetTable, why string) []entrain.Finding {
	key := t.key()
	absent := func(name string) bool { return t.columns[name] == nil }
	if slices.ContainsFunc(key, absent) { // column_missing
		return nil
	}
	if len(key) == 0 {
		return one(failure("table "+t.String(), "it has no key: "+why+"; give it a primary key at both ends"))
	}
	var late []string
	unique := false
	for _, k := range t.keys {
		switch {
		case !sameNames(key, k.columns):
		case k.immediate:
			unique = true
		default:
			kind := map[bool]string{true: "PRIMARY KEY", false: "UNIQUE"}[k.primary]
			late = append(late, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD %s (%s)", t, sqltext.Ident(k.constraint), kind, sqltext.Idents(k.columns)))
		}
	}
	switch {
	case len(late) > 0:
		return one(failure("table "+t.String(), "a constraint on its key ("+sqltext.Idents(key)+") is deferrable: "+why, f.fixes(tableOwner, late...)...))
	case !unique:
		return one(failure("table "+t.String(), "no unique index is on its key ("+sqltext.Idents(key)+"): "+why, f.uniqueIndex(t, key)...))
	}
	return nil
}

// judgeKeyTexts asks whether the texts of a key's values tell rows apart. Of a table that
// is to be made the source's types are all there is.
func (f *targetFacts) judgeKeyTexts(t *targetTable, key []string) []entrain.Finding {
	var found []entrain.Finding
	for _, from := range t.from.Columns {
		to := t.columns[from.Name]
		if !slices.Contains(key, from.Name) || t.plain() && to == nil {
			continue
		}
		if to == nil {
			// Of the types outside the server's own, an enum is what a key may have.
			to = &targetColumn{Type: from.Type, Modifier: from.Modifier, Enum: !strings.HasPrefix(from.Type, "pg_") && strings.Contains(from.Type, "."), Exact: true}
		}
		own := sqltext.ColumnType{Name: from.Type, Modifier: from.Modifier, Enum: to.Enum}
		has := sqltext.ColumnType{Name: to.Type, Modifier: to.Modifier, Enum: to.Enum}
		if from.Type == to.Type && to.Exact && has.Bytewise(from.Modifier) {
			continue
		}
		finding := failure(columnName(t, from.Name), "the version gate keeps the version of a row by the text of its key, and equal values of this column "+
			"can have several texts (numeric, citext, float or the like, or another type at the target): take a key of a type such as bigint, text, uuid or "+
			"timestamptz at both ends, or leave the table out (source.tables.exclude)")
		if own.Bytewise(from.Modifier) && to.Exact {
			finding.Fix = f.widen(t, from)
		}
		found = append(found, finding)
	}
	return found
}

func judgeGateShared(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		if t.gatedBy != "" {
			found = append(found, failure("table "+t.String(), fmt.Sprintf("the version gate of pipeline %q knows it already, and the versions of two pipelines cannot be "+
				"compared. Leave the table out of one of them; the fix is for a pipeline that is gone", t.gatedBy),
				f.fixes("as the owner of the tables", "DELETE FROM entrain.gate WHERE pipeline = "+sqltext.Literal(t.gatedBy))...))
		}
	}
	return found
}

// marksNew reports whether the column's default marks new rows as deleted. The server
// writes DEFAULT NULL as NULL::timestamp.
func (c *targetColumn) marksNew() bool {
	if c.Type == "bool" {
		return c.DefaultSQL == "true"
	}
	return c.DefaultSQL != "" && !strings.HasPrefix(c.DefaultSQL, "NULL")
}

func judgeSoftColumn(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	name := f.cfg.Gate.SoftDelete
	f.changing(func(t *targetTable) {
		switch c := t.columns[name]; {
		case sends(t.from, name):
			found = append(found, failure(columnName(t, name), "it comes from the source, so that it cannot mark deleted rows: name another one in sink.soft_delete.column"))
		case f.makes(t):
			create, ok := t.create(f.missingTypes())
			finding := failure("table "+t.String(), "it is made without the column "+sqltext.Ident(name)+", which is to mark deleted rows, and the first change stops the pipeline. "+
				"Make it before; the fix makes columns and key only")
			if ok && f.schemas[t.from.Schema] {
				finding.Fix = f.fixes("as the role that shall own the table", create, addMark(t, name), "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON "+t.String()+" TO "+sqltext.Ident(f.role))
			}
			found = append(found, finding)
		case c == nil:
			found = append(found, failure("table "+t.String(), "it has no column "+sqltext.Ident(name)+" at the target, which is to mark deleted rows", f.fixes(tableOwner, addMark(t, name))...))
		default:
			found = append(found, f.judgeMark(t, c)...)
			found = append(found, f.judgeArbiter(t, "a row that is marked as deleted is found by ON CONFLICT when its key is inserted again")...)
		}
	})
	return found
}

func addMark(t *targetTable, name string) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s timestamptz", t, sqltext.Ident(name))
}

// judgeMark looks at a column that is to mark deleted rows.
func (f *targetFacts) judgeMark(t *targetTable, c *targetColumn) []entrain.Finding {
	object, alter := columnName(t, c.Name), fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s ", t, sqltext.Ident(c.Name))
	var found []entrain.Finding
	switch {
	case !slices.Contains([]string{"timestamptz", "timestamp", "bool"}, c.Type):
		return one(failure(object, "its type is "+c.Type+", and rows are marked as deleted by a timestamp or a boolean: name another column in sink.soft_delete.column"))
	case c.Generated:
		return one(failure(object, "the target computes it, so that it cannot mark deleted rows: name another column in sink.soft_delete.column"))
	case c.NotNull && c.Type != "bool" && !c.InPrimary:
		found = append(found, failure(object, "it is NOT NULL, and NULL says that a row is not deleted: every insert of a key that is there is refused",
			f.fixes(tableOwner, alter+"DROP NOT NULL")...))
	}
	if c.marksNew() {
		to := "DROP DEFAULT"
		if c.Type == "bool" {
			to = "SET DEFAULT false"
		}
		found = append(found, failure(object, "its DEFAULT ("+c.DefaultSQL+") marks every new row as deleted", f.fixes(tableOwner, alter+to)...))
	}
	return found
}

// judgeSoftTriggers names triggers that may set the mark besides us, whoever writes.
func judgeSoftTriggers(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, m := range t.marking {
			who := "when others than entrain write"
			if m.ours {
				who = "for what is applied, too"
			}
			found = append(found, warning("trigger "+sqltext.Ident(m.name)+" of "+m.relation, "it names the column "+sqltext.Ident(f.cfg.Gate.SoftDelete)+
				" and fires "+who+": a mark that it sets hides a row that the source has, one that it takes away shows a row that is deleted. Disable it if it does",
				f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DISABLE TRIGGER %s", m.relation, sqltext.Ident(m.name)))...))
		}
	}
	return found
}
