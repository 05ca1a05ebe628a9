package preflight

import (
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// targetBetweenSQL lists the foreign keys between the tables that are checked in our
// role: the child, what drops one, and the parent. One that is NOT VALID is checked for new
// rows, too; one that is NOT ENFORCED has no trigger.
const targetBetweenSQL = `SELECT DISTINCT child::text, name::text, parent::text FROM (
  SELECT coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid) AS child, coalesce(pg_partition_root(k.confrelid)::oid, k.confrelid) AS parent,
    coalesce((SELECT p.conname FROM pg_constraint p WHERE p.oid = k.conparentid), k.conname) AS name FROM pg_constraint k
  WHERE k.contype = 'f' AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid
    AND g.tgfoid = 'pg_catalog."RI_FKey_check_ins"()'::regprocedure
    AND g.tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END))) k
WHERE child = ANY ($1::oid[]) AND parent = ANY ($1::oid[]) ORDER BY 1, 2, 3`

func (t *targetTable) takeBetween(r []string) error {
	t.between = append(t.between, between{r[0], r[1]})
	return nil
}

// between is a foreign key between tables of the pipeline.
type between struct{ name, parent string } // the parent by its oid

// divided reports whether changes come through several partitions, which have no
// order between them.
func divided(f *targetFacts) bool { return f.source != nil && f.source.Partitions > 1 }

// judgePartitionReferences: a child that came before its parent makes its
// partition wait, and the parent may be behind a child in another one that waits in
// turn.
func judgePartitionReferences(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, b := range t.between {
			name := b.name
			found = append(found, failure("foreign key "+sqltext.Ident(name)+" of "+t.String(), fmt.Sprintf("the stream has %d partitions, "+
				"each of which is delivered by itself: a row waits for the one that it refers to and holds its partition up, two partitions wait for each other for ever. "+
				"Either the stream has one partition (partitions: 1, a topic that is made anew), or the reference is not checked here: "+
				"drop it (NOT VALID does not help: new rows are checked), or let the role skip it (ALTER ROLE … SET session_replication_role = replica, "+
				"which skips triggers, too)", f.source.Partitions),
				f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s", t, sqltext.Ident(name)))...))
		}
	}
	return found
}

// classed reports whether tables are delivered by classes.
func classed(f *targetFacts) bool { return f.source != nil && f.source.Class != nil }

// judgeClassReferences: a child comes before its parent if that is of a class that
// waits longer, and a parent goes before its children.
func judgeClassReferences(f *targetFacts) []entrain.Finding {
	byOID := map[string]*targetTable{}
	for _, t := range f.tables {
		byOID[t.oid] = t
	}
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, b := range t.between {
			parent := byOID[b.parent]
			if parent == nil {
				continue
			}
			own, other := f.source.Class(t.from.Schema, t.from.Name), f.source.Class(parent.from.Schema, parent.from.Name)
			if own == other {
				continue
			}
			found = append(found, warning("foreign key "+sqltext.Ident(b.name)+" of "+t.String(), fmt.Sprintf("the table is of class %s, and the one that it refers to, "+
				"%s, of class %s: each class is delivered by itself, so that a row may come before the one that it refers to, which stops its class until that one has come. "+
				"Either both are of one class (classes: in the file), or the reference is not checked here: drop it (NOT VALID does not help: new rows are checked), "+
				"or let the role skip it (ALTER ROLE … SET session_replication_role = replica, which skips triggers, too)", own, parent, other),
				f.fixes(tableOwner, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s", t, sqltext.Ident(b.name)))...))
		}
	}
	return found
}

// judgePartitionUnique: a value that moves from one row to another is given away
// and taken in two partitions.
func judgePartitionUnique(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		for _, k := range t.keys {
			if sameNames(k.columns, t.key()) {
				continue
			}
			found = append(found, warning("unique index on ("+sqltext.Idents(k.columns)+") of "+t.String(), fmt.Sprintf("the stream has %d partitions, "+
				"each of which is delivered by itself: where a value goes from one row to another, the new one may come first, and waits for the old one; "+
				"if partitions wait for each other, for ever. Tables where values never move to other rows have no such case", f.source.Partitions)))
		}
	}
	return found
}
