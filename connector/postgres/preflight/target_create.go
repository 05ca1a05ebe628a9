package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// extension is one that a table which the sink will make needs, as it is here.
type extension struct {
	entrain.Extension
	there, available bool
	// guarded: it takes a superuser to make it.
	guarded bool
	tables  []string // that need it
}

// String returns the quoted name.
func (x extension) String() string { return sqltext.Ident(x.Name) }

const targetExtensionsSQL = `SELECT (x.oid IS NOT NULL)::text, (v.name IS NOT NULL)::text, coalesce(v.superuser AND NOT v.trusted, false)::text
FROM json_array_elements_text($1::json) WITH ORDINALITY w(name, i) LEFT JOIN pg_extension x ON x.extname = w.name
LEFT JOIN (pg_available_extensions a JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version) ON a.name = w.name
ORDER BY w.i`

// readExtensions looks for the extensions that tables to be made need.
func (f *targetFacts) readExtensions(ctx context.Context, ask Ask) error {
	var names []string
	for _, t := range f.tables {
		if !f.makes(t) {
			continue
		}
		for _, need := range t.copied.Extensions {
			i := slices.Index(names, need.Name)
			if i < 0 {
				i, names = len(names), append(names, need.Name)
				f.extensions = append(f.extensions, extension{Extension: need})
			}
			f.extensions[i].tables = append(f.extensions[i].tables, t.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	rows, err := ask(ctx, targetExtensionsSQL, jsonText(names))
	if err != nil {
		return fmt.Errorf("look for extensions: %w", err)
	}
	for i, r := range rows {
		x := &f.extensions[i]
		x.there, x.available, x.guarded = r[0] == "true", r[1] == "true", r[2] == "true"
	}
	return nil
}

// judgeCreateRight asks whether the tables that are missing can be made, with
// the types and extensions that they need.
func judgeCreateRight(f *targetFacts) []entrain.Finding {
	schemas, made := f.needed()
	role, database := sqltext.Ident(f.role), "database "+sqltext.Ident(f.database)
	var found []entrain.Finding
	for _, x := range f.extensions {
		found = append(found, f.judgeExtension(x)...)
	}
	for _, schema := range schemas {
		name, why := sqltext.Ident(schema), "role "+role+" may not make what create_tables has to: "+some(made[schema])
		switch {
		case f.roomy[schema], !f.schemas[schema] && f.mayCreate:
		case f.schemas[schema]:
			found = append(found, failure("schema "+name, why, f.fixes("as the owner of the schema",
				"GRANT USAGE, CREATE ON SCHEMA "+name+" TO "+role)...))
		default:
			found = append(found, failure(database, why+", in a schema that is missing", f.fixes(databaseOwner,
				"GRANT CREATE ON DATABASE "+sqltext.Ident(f.database)+" TO "+role)...))
		}
	}
	return found
}

// needed are the schemas in which something has to be made, and the tables for
// which it is.
func (f *targetFacts) needed() (schemas []string, made map[string][]string) {
	made = map[string][]string{}
	add := func(schema string, t *targetTable) {
		if !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
		}
		if !slices.Contains(made[schema], t.String()) {
			made[schema] = append(made[schema], t.String())
		}
	}
	for _, t := range f.tables {
		if !f.makes(t) {
			continue
		}
		add(t.from.Schema, t)
		for _, c := range t.from.Columns {
			if schema, _, ok := strings.Cut(c.Type, "."); ok && !f.types[c.Type] && !t.extends(c.Type) {
				add(schema, t)
			}
		}
	}
	return schemas, made
}

// extends reports that the type is an extension's.
func (t *targetTable) extends(typ string) bool {
	return slices.ContainsFunc(t.copied.Extensions, func(x entrain.Extension) bool { return slices.Contains(x.Types, typ) })
}

// judgeExtension: most extensions can be made by whoever has CREATE on the
// database, some by superusers only, and none that the machine does not have.
func (f *targetFacts) judgeExtension(x extension) []entrain.Finding {
	object, schema := "extension "+x.String(), sqltext.Ident(x.Schema)
	switch {
	case x.there:
		return nil
	case !x.available:
		return one(failure(object, "tables that create_tables has to make need it ("+some(x.tables)+"), and the target's machine does not have it: "+
			"install its package there, or make the tables without it"))
	case f.superuser, f.mayCreate && !x.guarded:
		return nil
	}
	var steps []string
	if !f.schemas[x.Schema] {
		steps = append(steps, "CREATE SCHEMA IF NOT EXISTS "+schema)
	}
	steps = append(steps, "CREATE EXTENSION IF NOT EXISTS "+x.String()+" WITH SCHEMA "+schema+" CASCADE")
	if x.Schema != "pg_catalog" && !f.roomy[x.Schema] {
		steps = append(steps, "GRANT USAGE ON SCHEMA "+schema+" TO "+sqltext.Ident(f.role))
	}
	return one(failure(object, "tables that create_tables has to make need it ("+some(x.tables)+"), and role "+sqltext.Ident(f.role)+
		" may not make it", f.fixes(superuser, steps...)...))
}
