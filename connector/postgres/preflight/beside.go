package preflight

import (
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// judgeNoChunks is about tables that cannot be read in chunks by key, which is how
// one is copied while changes flow. The old rows that the identity FULL brings may
// be what somebody reads the stream for, and a row filter may need them.
func judgeNoChunks(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		if t.form != "f" {
			continue
		}
		finding := warning("table "+t.String(), "its replica identity is FULL, so that no index tells its rows apart in the log: it can be copied by the "+
			"first copy only, and table add, resync, pause and resume are refused for it")
		why, fix := f.identifyByKey(t)
		finding.Why, finding.Fix = finding.Why+why, fix
		found = append(found, finding)
	}
	return found
}

// identifyByKey says what makes a table with identity FULL one with a key.
func (f *sourceFacts) identifyByKey(t *table) (why string, fix []entrain.Fix) {
	switch {
	case !t.primary:
		return "; a primary key makes it one that can, and then REPLICA IDENTITY DEFAULT", nil
	case slices.ContainsFunc(t.filters, func(fl filter) bool { return fl.rows != "" }):
		return "; REPLICA IDENTITY DEFAULT makes it one that can, where its row filter looks at the primary key only", nil
	}
	fix = f.identify(t, "DEFAULT")
	for _, leaf := range t.leaves {
		if leaf.form == "f" {
			fix = append(fix, f.identify(leaf, "DEFAULT")...)
		}
	}
	return "; the fix makes it one that can, if nobody needs the whole old rows that events have now", fix
}

// notBeside says what becomes of a table whose key ON CONFLICT cannot use.
const notBeside = "; nor can the table be copied while changes flow (table add, resync)"

// judgeResyncRights is about what a copy beside the stream takes that nothing else
// does: a double is a table in the schema entrain, and rows that meet others wait in
// a temporary one. What it takes on the table itself every change takes, too.
func judgeResyncRights(f *targetFacts) []entrain.Finding {
	if f.superuser || !f.keepsPosition() || f.source.CopyOnly {
		return nil
	}
	role := sqltext.Ident(f.role)
	var found []entrain.Finding
	if f.position.schema && !f.position.schemaWritable && len(judgeLoadRights(f)) == 0 {
		found = append(found, warning(f.where, "role "+role+" may not make tables in the schema entrain, where a table that is read anew (table resync, resume) "+
			"fills out of sight", f.fixes("as the owner of the schema", "GRANT USAGE, CREATE ON SCHEMA entrain TO "+role)...))
	}
	if !f.position.temporary {
		found = append(found, warning(f.where, "role "+role+" may not make temporary tables, which rows wait in that meet others of their key while a table is "+
			"copied beside the stream (table add, resync, snapshot start)",
			f.fixes(databaseOwner, fmt.Sprintf("GRANT TEMPORARY ON DATABASE %s TO %s", sqltext.Ident(f.database), role))...))
	}
	return found
}
