package preflight

import (
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// copying reports that existing rows will be copied: while the pipeline's own
// session streams, they have been.
func (f *sourceFacts) copying() bool {
	return f.cfg.Copies != nil && (f.cfg.Standalone || !f.slot.active || f.slot.application != f.cfg.Application)
}

// copies reports that rows of the table will be copied.
func (f *sourceFacts) copies(t *table) bool {
	return f.copying() && t.persistence == "p" && f.cfg.Copies(t.schema, t.name)
}

// read are the relations whose rows a copy of the table reads.
func (t *table) read() []*table {
	if t.kind != "p" {
		return []*table{t}
	}
	return t.leaves
}

// lacking are the grants that let the role read the relation. Rights on single
// columns do not let it lock the table, which each part of a copy does.
func (t *table) lacking(f *sourceFacts) []string {
	role := " TO " + sqltext.Ident(f.role)
	var grants []string
	if !t.usable {
		grants = append(grants, "GRANT USAGE ON SCHEMA "+sqltext.Ident(t.schema)+role)
	}
	if !t.selectable {
		grants = append(grants, "GRANT SELECT ON "+t.String()+role)
	}
	return grants
}

const grantor = "as the owner of the schema and the table"

func judgeSelectRight(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range slices.Concat(f.carried, f.views) {
		grants, unread := []string(nil), []string(nil)
		for _, r := range t.read() {
			if lacking := r.lacking(f); f.copies(t) && len(lacking) > 0 {
				grants, unread = append(grants, lacking...), append(unread, r.String())
			}
		}
		own := t.lacking(f)
		switch role := "role " + sqltext.Ident(f.role); {
		case len(unread) > 0:
			found = append(found, failure("table "+t.String(), role+" may not read "+some(unread)+
				": copying the rows that are there takes SELECT on the whole table, on each partition of a partitioned one, and USAGE of the schema",
				f.fixes(grantor, distinct(append(grants, own...))...)...))
		case len(own) > 0 && !t.isView():
			found = append(found, warning("table "+t.String(), role+" may not read it itself: changes are carried all the same, "+
				"but its rows cannot be compared, nor copied unless they are in partitions that it may read", f.fixes(grantor, own...)...))
		}
	}
	return found
}

// distinct leaves out what was said before.
func distinct(all []string) []string {
	var once []string
	for _, text := range all {
		if !slices.Contains(once, text) {
			once = append(once, text)
		}
	}
	return once
}

// judgeSourceRowSecurity: a copy refuses to be made by somebody to whom a
// policy applies, whatever that would hide.
func judgeSourceRowSecurity(f *sourceFacts) []entrain.Finding {
	bypass := f.fixes(superuser, "ALTER ROLE "+sqltext.Ident(f.role)+" BYPASSRLS")
	var found []entrain.Finding
	var names []string
	for _, t := range f.carried {
		var hidden []string
		for _, r := range t.read() {
			if r.secured && f.copies(t) {
				hidden = append(hidden, r.String())
			}
		}
		switch {
		case len(hidden) > 0:
			found = append(found, failure("table "+t.String(), "row-level security applies to role "+sqltext.Ident(f.role)+" on "+some(hidden)+
				": a copy would lack the rows that it hides, and is refused", bypass...))
		case t.secured:
			names = append(names, t.String())
		}
	}
	if len(names) > 0 {
		found = append(found, warning("tables "+some(names), "row-level security hides rows of them from role "+sqltext.Ident(f.role)+
			": changes are carried all the same, but copying or comparing the tables would miss rows", bypass...))
	}
	return found
}

// judgeListConflict: of such a table the server sends nothing.
func judgeListConflict(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		if len(t.lists) < 2 || !slices.ContainsFunc(t.lists[1:], func(list []string) bool { return !sameNames(list, t.lists[0]) }) {
			continue
		}
		found = append(found, failure("table "+t.String(), "the publications list different columns of it: its rows cannot be copied, and the server "+
			"sends none of its changes; make the lists equal (ALTER PUBLICATION), or name one publication in the file"))
	}
	return found
}

func sameNames(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// judgeNotCopied names partitions whose rows are neither in the log nor copied.
func judgeNotCopied(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		of := ", of which it is a partition, is carried: neither its changes nor its existing rows are"
		for _, leaf := range t.leaves {
			if leaf.persistence == "u" {
				found = append(found, warning("partition "+leaf.String(), "it is unlogged, and "+t.String()+of,
					f.fixes(tableOwner, "ALTER TABLE "+leaf.String()+" SET LOGGED")...))
			}
		}
		if t.partition && t.persistence == "u" {
			found = append(found, warning("partition "+t.String(), "it is unlogged: neither its changes nor its existing rows are carried",
				f.fixes(tableOwner, "ALTER TABLE "+t.String()+" SET LOGGED")...))
		}
		for _, leaf := range t.foreign {
			found = append(found, warning("partition "+leaf.String(), "it is a foreign table, and "+t.String()+of))
		}
	}
	return found
}
