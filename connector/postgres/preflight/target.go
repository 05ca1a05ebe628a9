package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// targetChecks are all examinations of a target, in the order of the report.
var targetChecks = []check[targetFacts]{
	{code: "server_version", judge: ofTarget(judgeVersion)},
	{code: "connect_right", judge: nothing[targetFacts]},
	{code: "pooler", judge: judgeTargetPooler},
	{code: "clock_skew", judge: ofTarget(judgeClock)},
	{code: "target_read_only", judge: judgeReadOnly},
	{code: "position_rights", judge: judgePosition},
	{code: "load_rights", judge: judgeLoadRights},
	{code: "resync_rights", judge: judgeResyncRights, applies: knowsSource},
	{code: "same_database", judge: judgeSameDatabase, applies: knowsSource},
	{code: "target_encoding", judge: judgeTargetEncoding, applies: knowsSource},
	{code: "type_missing", judge: judgeTypeMissing, applies: knowsSource},
	{code: "table_missing", judge: judgeTableMissing, applies: knowsSource},
	{code: "create_right", judge: judgeCreateRight, applies: knowsSource},
	{code: "table_kind", judge: judgeTableKind, applies: knowsSource},
	{code: "target_rights", judge: judgeTargetRights, applies: knowsSource},
	{code: "target_row_security", judge: judgeTargetRowSecurity, applies: knowsSource},
	{code: "column_missing", judge: judgeColumnMissing, applies: knowsSource},
	{code: "column_narrower", judge: judgeColumnNarrower, applies: knowsSource},
	{code: "column_type", judge: judgeColumnType, applies: knowsSource},
	{code: "column_not_null", judge: judgeColumnNotNull, applies: knowsSource},
	{code: "unique_key_missing", judge: judgeUniqueKey, applies: knowsSource},
	{code: "unique_key_deferrable", judge: judgeDeferrableKey, applies: knowsSource},
	{code: "key_mismatch", judge: judgeKeyMismatch, applies: knowsSource},
	{code: "no_equality", judge: judgeNoEquality, applies: knowsSource},
	{code: "target_triggers", judge: judgeTriggers, applies: knowsSource},
	{code: "foreign_key_actions", judge: judgeForeignKeys, applies: knowsSource},
	{code: "partition_references", judge: judgePartitionReferences, applies: divided},
	{code: "partition_unique", judge: judgePartitionUnique, applies: divided},
	{code: "class_references", judge: judgeClassReferences, applies: classed},
	{code: "sequences", judge: judgeSequences, applies: knowsSource},
	{code: "load_not_empty", judge: judgeNotEmpty, applies: knowsSource},
	{code: "load_staged", judge: judgeStaged, applies: knowsSource},
	{code: "gate_rights", judge: judgeGateRights, applies: gated},
	{code: "gate_key", judge: judgeGateKey, applies: gated},
	{code: "gate_shared", judge: judgeGateShared, applies: gated},
	{code: "gate_off", judge: judgeGateOff, applies: ofTheGate},
	{code: "soft_delete_column", judge: judgeSoftColumn, applies: marks},
	{code: "soft_delete_triggers", judge: judgeSoftTriggers, applies: marks},
}

// TargetCodes lists the codes of a target's findings.
func TargetCodes() []string { return codesOf(targetChecks) }

func ofTarget(judge func(*server) []entrain.Finding) func(*targetFacts) []entrain.Finding {
	return func(f *targetFacts) []entrain.Finding { return judge(&f.server) }
}

func knowsSource(f *targetFacts) bool { return f.source != nil }

// Examine reports on a target, whose session ask uses. source is what was found
// at the source; nil if that is not known.
func (cfg Target) Examine(ctx context.Context, ask Ask, source *entrain.Report) (entrain.Report, error) {
	f, err := cfg.gather(ctx, ask, source)
	if err != nil {
		return entrain.Report{}, err
	}
	report := f.report(cfg.Session)
	report.Findings = judgeAll(targetChecks, f, f.where)
	for _, t := range f.tables {
		if t.plain() {
			report.Tables = append(report.Tables, t.shape())
		}
	}
	return report, nil
}

// shape is the table as it is at the target, with its primary key.
func (t *targetTable) shape() *entrain.Table {
	shape := &entrain.Table{Schema: t.from.Schema, Name: t.from.Name}
	for _, c := range t.order {
		shape.Columns = append(shape.Columns, entrain.Column{Name: c.Name, Type: c.Type, Modifier: c.Modifier, Key: c.InPrimary})
	}
	shape.Version = shape.Fingerprint()
	return shape
}

func judgeTargetPooler(f *targetFacts) []entrain.Finding {
	switch {
	case len(f.ignored) > 0:
		return one(failure(f.where, poolerWhy+" and drops the settings that values are written with ("+some(f.ignored)+
			"): set sink.url to the server's own host and port"))
	case f.pooled:
		return one(warning(f.where, poolerWhy+": unless it keeps one server session for each of ours, prepared statements and settings "+
			"get lost; set sink.url to the server's own host and port"))
	}
	return nil
}

func judgeReadOnly(f *targetFacts) []entrain.Finding {
	switch {
	case f.standby:
		return one(failure(f.where, "the server is a standby and takes no changes: set sink.url to the primary"))
	case f.settings["default_transaction_read_only"].configured == "on":
		return one(failure(f.where, "transactions of role "+sqltext.Ident(f.role)+" are read-only here (default_transaction_read_only)",
			f.fixes(superuser, "SET default_transaction_read_only = off", fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET default_transaction_read_only = off",
				sqltext.Ident(f.role), sqltext.Ident(f.database)))...))
	}
	return nil
}

// judgePosition asks whether the position can be kept beside the data.
func judgePosition(f *targetFacts) []entrain.Finding {
	if f.keepsPosition() {
		return nil
	}
	return one(failure(f.where, "role "+sqltext.Ident(f.role)+" may not make or use the table entrain.position: the position is kept beside the data, "+
		"so that both change in one transaction", f.ownSchema()...))
}

func (f *targetFacts) keepsPosition() bool {
	p := f.position
	return f.superuser || p.table && p.schemaUsable && p.tableWritable || !p.table && p.schemaUsable && p.schemaWritable ||
		!p.schema && f.mayCreate
}

// ownSchema makes what the sink keeps beside the data, and gives it to our role.
func (f *targetFacts) ownSchema() []entrain.Fix {
	role := sqltext.Ident(f.role)
	return f.fixes(databaseOwner, append(slices.Clone(f.cfg.Position), "GRANT USAGE, CREATE ON SCHEMA entrain TO "+role,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON entrain."+strings.Join(f.cfg.Own, ", entrain.")+" TO "+role)...)
}

// judgeSameDatabase: changes would be captured and applied again for ever.
func judgeSameDatabase(f *targetFacts) []entrain.Finding {
	if f.source.Database == "" || f.source.Database != f.system+"/"+f.oid {
		return nil
	}
	return one(failure(f.where, "source and target are one database: every change that is applied would be captured again; "+
		"correct source.url or sink.url"))
}

func judgeTargetEncoding(f *targetFacts) []entrain.Finding {
	if f.encoding == "UTF8" || f.encoding == f.source.Encoding || f.source.Encoding == "" {
		return nil
	}
	return one(warning(f.where, fmt.Sprintf("the source's encoding is %s, the target's %s: a value with a character that the target "+
		"does not have is refused and stops the pipeline; a database with ENCODING 'UTF8' takes all", f.source.Encoding, f.encoding)))
}

// missingTypes lists the types of the source that the target does not have.
func (f *targetFacts) missingTypes() []string {
	var missing []string
	for _, t := range f.tables {
		for _, c := range t.from.Columns {
			if !f.types[c.Type] && !slices.Contains(missing, c.Type) {
				missing = append(missing, c.Type)
			}
		}
	}
	return missing
}

// judgeTypeMissing counts a type as needed where a table or column would have
// to be made with it.
func judgeTypeMissing(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, typ := range f.missingTypes() {
		needed := slices.ContainsFunc(f.tables, func(t *targetTable) bool {
			return slices.ContainsFunc(t.from.Columns, func(c entrain.Column) bool {
				return c.Type == typ && (t.oid == "" && !f.makes(t) || t.plain() && t.columns[c.Name] == nil)
			})
		})
		if needed {
			found = append(found, failure("type "+sqltext.Type(element(typ)), "tables of the source use it, and the target does not have it: "+
				"create it as it is at the source (pg_dump --schema-only), or its extension (CREATE EXTENSION)"))
		}
	}
	return found
}

func judgeTableMissing(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	missing := f.missingTypes()
	for _, t := range f.tables {
		if t.oid != "" || f.makes(t) {
			continue
		}
		finding := failure("table "+t.String(), "it does not exist at the target, and changes go to the table with the source's schema and name. "+
			"The fix makes columns and key only: pg_dump --schema-only brings indexes, defaults and constraints too")
		if create, ok := t.create(missing); ok {
			role := " TO " + sqltext.Ident(f.role)
			statements := []string{create, "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON " + t.String() + role}
			if schema := sqltext.Ident(t.from.Schema); !f.schemas[t.from.Schema] {
				statements = append([]string{"CREATE SCHEMA IF NOT EXISTS " + schema, "GRANT USAGE ON SCHEMA " + schema + role}, statements...)
			}
			finding.Fix = f.fixes("as the role that shall own the table", statements...)
		}
		if t.copied != nil && t.copied.Defined {
			finding.Why += "; with sink.create_tables entrain makes it, complete, when its rows are copied"
			finding.Fix = append(finding.Fix, entrain.Fix{Where: "or else pipeline file", Config: "sink:\n  create_tables: true\n"})
		}
		found = append(found, finding)
	}
	return found
}

// create makes a table that takes what the source sends; not ok if it needs
// types that are missing.
func (t *targetTable) create(missing []string) (sql string, ok bool) {
	parts := make([]string, 0, len(t.from.Columns)+1)
	for _, c := range t.from.Columns {
		if slices.Contains(missing, c.Type) {
			return "", false
		}
		parts = append(parts, sqltext.Ident(c.Name)+" "+typeOf(c).sql())
	}
	if key := t.keyed(); len(key) > 0 {
		parts = append(parts, "PRIMARY KEY ("+sqltext.Idents(key)+")")
	}
	return fmt.Sprintf("CREATE TABLE %s (%s)", t, strings.Join(parts, ", ")), true
}

func typeOf(c entrain.Column) valueType { return valueType{c.Type, c.Modifier} }

func judgeTableKind(f *targetFacts) []entrain.Finding {
	kinds := map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table"}
	var found []entrain.Finding
	for _, t := range f.tables {
		if kind := kinds[t.kind]; kind != "" {
			found = append(found, failure("table "+t.String(), "at the target it is "+kind+", to which changes cannot be applied exactly once: "+
				"exclude it in source.tables, or put a table in its place"))
		}
	}
	return found
}

func judgeTargetRights(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	role := " TO " + sqltext.Ident(f.role)
	for _, t := range f.tables {
		var grants []string
		lacking := t.lacking
		if t.plain() && !t.usable {
			grants = append(grants, "GRANT USAGE ON SCHEMA "+sqltext.Ident(t.from.Schema)+role)
			lacking = append([]string{"USAGE of its schema"}, lacking...)
		}
		if t.plain() && len(t.lacking) > 0 {
			grants = append(grants, "GRANT "+strings.Join(t.lacking, ", ")+" ON "+t.String()+role)
		}
		if len(grants) > 0 {
			found = append(found, failure("table "+t.String(), "role "+sqltext.Ident(f.role)+" lacks "+strings.Join(lacking, ", ")+" there",
				f.fixes("as the owner of the schema and the table", grants...)...))
		}
	}
	return found
}

func judgeTargetRowSecurity(f *targetFacts) []entrain.Finding {
	var names []string
	for _, t := range f.tables {
		if t.secured {
			names = append(names, t.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	return one(failure("tables "+some(names), "row-level security applies to role "+sqltext.Ident(f.role)+
		": rows that a policy hides would be left as they are without an error",
		f.fixes(superuser, "ALTER ROLE "+sqltext.Ident(f.role)+" BYPASSRLS")...))
}
