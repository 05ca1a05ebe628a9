package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// eachColumn calls do for the columns that tables at the target have to have;
// to is nil where there is none.
func (f *targetFacts) eachColumn(do func(t *targetTable, from entrain.Column, to *targetColumn)) {
	for _, t := range f.tables {
		if !t.plain() {
			continue
		}
		for _, c := range t.from.Columns {
			do(t, c, t.columns[c.Name])
		}
	}
}

func columnName(t *targetTable, name string) string {
	return "column " + t.String() + "." + sqltext.Ident(name)
}

func judgeColumnMissing(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	missing := f.missingTypes()
	f.eachColumn(func(t *targetTable, from entrain.Column, to *targetColumn) {
		if to != nil {
			return
		}
		finding := failure(columnName(t, from.Name), "the source sends it and the target does not have it; rows that are already there "+
			"get the DEFAULT that you may add to the statement")
		if !slices.Contains(missing, from.Type) {
			finding.Fix = f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t, sqltext.Ident(from.Name), typeOf(from).sql()))
		}
		found = append(found, finding)
	})
	return found
}

// eachFit calls do for the columns that get values which may not fit.
func (f *targetFacts) eachFit(do func(t *targetTable, from entrain.Column, fit fit)) {
	f.eachColumn(func(t *targetTable, from entrain.Column, to *targetColumn) {
		if to == nil || to.Generated {
			return
		}
		if fit := fitOf(typeOf(from), valueType{to.Type, to.Modifier}); fit != fits {
			do(t, from, fit)
		}
	})
}

func (f *targetFacts) widen(t *targetTable, from entrain.Column) []entrain.Fix {
	if !f.types[from.Type] {
		return nil
	}
	column, typ := sqltext.Ident(from.Name), typeOf(from).sql()
	return f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%[3]s", t, column, typ, column))
}

func (t *targetTable) difference(from entrain.Column) string {
	to := t.columns[from.Name]
	return fmt.Sprintf("the source's type is %s, the target's %s", typeOf(from).people(), valueType{to.Type, to.Modifier}.people())
}

func judgeColumnNarrower(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	f.eachFit(func(t *targetTable, from entrain.Column, fit fit) {
		switch fit {
		case alters:
			found = append(found, failure(columnName(t, from.Name), t.difference(from)+": what does not fit is rounded or cut without an error",
				f.widen(t, from)...))
		case refuses:
			found = append(found, warning(columnName(t, from.Name), t.difference(from)+": a value that does not fit is refused and stops the pipeline",
				f.widen(t, from)...))
		}
	})
	return found
}

func judgeColumnType(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	f.eachFit(func(t *targetTable, from entrain.Column, fit fit) {
		if fit == unknown {
			found = append(found, warning(columnName(t, from.Name), t.difference(from)+": values go through their text, "+
				"and one that the target cannot read stops the pipeline", f.widen(t, from)...))
		}
	})
	return found
}

// judgeColumnNotNull looks at columns that the source does not have.
func judgeColumnNotNull(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, c := range t.order {
			if !c.NotNull || c.Default || c.Generated || sends(t.from, c.Name) {
				continue
			}
			finding := failure(columnName(t, c.Name), "the source does not have it, it is NOT NULL and has no DEFAULT: every insert is refused")
			if !c.InPrimary {
				finding.Fix = f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", t, sqltext.Ident(c.Name)))
			} else {
				finding.Why += "; it is part of the primary key, so give it a DEFAULT or another primary key to the table"
			}
			found = append(found, finding)
		}
	}
	return found
}

// indexed reports whether a unique index is on exactly the columns of the key.
func (t *targetTable) indexed() bool {
	key := t.key()
	return slices.ContainsFunc(t.keys, func(k uniqueKey) bool { return sameNames(key, k.columns) })
}

// eachKeyed calls do for the tables that have a key of which all columns are at
// the target.
func (f *targetFacts) eachKeyed(do func(t *targetTable, key []string)) {
	for _, t := range f.tables {
		key := t.key()
		absent := func(name string) bool { return t.columns[name] == nil }
		if t.plain() && len(key) > 0 && !slices.ContainsFunc(key, absent) {
			do(t, key)
		}
	}
}

func (f *targetFacts) uniqueIndex(t *targetTable, key []string) []entrain.Fix {
	return f.fixes(tableOwner, fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s)", t, sqltext.Idents(key)))
}

func judgeUniqueKey(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	f.eachKeyed(func(t *targetTable, key []string) {
		if !t.indexed() {
			found = append(found, warning("table "+t.String(), fmt.Sprintf("no unique index is on (%s), which identifies rows at the source: "+
				"rows are looked for by scanning, and one that is there twice stops the pipeline"+notBeside, sqltext.Idents(key)), f.uniqueIndex(t, key)...))
		}
	})
	return found
}

// judgeDeferrableKey: a deferrable index on the key is in the way of INSERT … ON
// CONFLICT also where there is another that is not. No reference can need it.
func judgeDeferrableKey(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	f.eachKeyed(func(t *targetTable, key []string) {
		for _, k := range t.keys {
			if k.immediate || k.constraint == "" || !sameNames(key, k.columns) {
				continue
			}
			kind := "UNIQUE"
			if k.primary {
				kind = "PRIMARY KEY"
			}
			found = append(found, warning("table "+t.String(), fmt.Sprintf("a constraint on the key (%s) is deferrable: INSERT … ON CONFLICT cannot be used, "+
				"so that inserts are slower"+notBeside, sqltext.Idents(key)), f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD %s (%s)",
				t, sqltext.Ident(k.constraint), kind, sqltext.Idents(k.columns)))...))
		}
	})
	return found
}

// judgeKeyMismatch: rows that are different to the source must not be one to
// the target. A key of more columns than the source's does no such thing.
func judgeKeyMismatch(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	f.eachKeyed(func(t *targetTable, key []string) {
		for _, k := range t.keys {
			outside := slices.ContainsFunc(key, func(name string) bool { return !slices.Contains(k.columns, name) })
			if !k.primary || !outside {
				continue
			}
			found = append(found, failure("table "+t.String(), fmt.Sprintf("its primary key is (%s), but rows are identified at the source by (%s): "+
				"different rows of the source can collide and are refused", sqltext.Idents(k.columns), sqltext.Idents(key)),
				f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD PRIMARY KEY (%s)",
					t, sqltext.Ident(k.constraint), sqltext.Idents(key)))...))
		}
	})
	return found
}

// judgeNoEquality is about tables whose whole rows are compared.
func judgeNoEquality(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		if !t.plain() || len(t.key()) > 0 || t.copied != nil && t.copied.Once {
			continue
		}
		var names []string
		for _, c := range t.order {
			if !c.Comparable && sends(t.from, c.Name) {
				names = append(names, sqltext.Ident(c.Name))
			}
		}
		if len(names) > 0 {
			found = append(found, warning("table "+t.String(), "it has no key, and the types of "+some(names)+" have no equality: rows are found "+
				"by the bytes of their values, which no index helps with; a primary key at both ends makes it fast and sure"))
		}
	}
	return found
}

func judgeTriggers(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		if len(t.fires) == 0 {
			continue
		}
		var names, statements []string
		for _, x := range t.fires {
			names = append(names, strings.ToLower(x.what)+" "+sqltext.Ident(x.name)+" of "+x.relation)
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s DISABLE %s %s", x.relation, x.what, sqltext.Ident(x.name)))
		}
		found = append(found, warning("table "+t.String(), "changes that are applied set off "+some(names)+
			": what these write may come from the source as well, and batches with the table are applied row by row; disable what shall not run here",
			f.fixes(tableOwner, statements...)...))
	}
	return found
}

// judgeForeignKeys tells references between tables of the pipeline, whose
// actions come as changes of their own, from those of other tables.
func judgeForeignKeys(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, ref := range t.refs {
			object := "foreign key " + sqltext.Ident(ref.name) + " of " + ref.child
			fed := slices.ContainsFunc(f.tables, func(c *targetTable) bool {
				return c.from.Schema == ref.childSchema && c.from.Name == ref.childName
			})
			if !fed {
				found = append(found, warning(object, ref.actions+" changes rows of a table that the pipeline does not feed when rows of "+
					t.String()+" are changed"))
				continue
			}
			found = append(found, warning(object, ref.actions+" does what the source sends as well, so that changes of both tables are applied "+
				"in order instead of in sets; without the action, checked at the end of the transaction, they need not be",
				f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %[2]s FOREIGN KEY (%s) REFERENCES %s (%s) "+
					"DEFERRABLE INITIALLY DEFERRED", ref.child, sqltext.Ident(ref.name), ref.childColumns, t, ref.parentColumns))...))
		}
	}
	return found
}
