package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

func judgeNoTables(f *sourceFacts) []entrain.Finding {
	if slices.ContainsFunc(f.tables, func(t *table) bool { return t.persistence == "p" }) || f.cfg.Standalone && len(f.views) > 0 {
		return nil
	}
	return one(failure(f.where, "source.tables takes no table of this database: correct its patterns, or the database in source.url"))
}

// judgePublicationMissing is content with one that will be made and can be.
func judgePublicationMissing(f *sourceFacts) []entrain.Finding {
	if !follows(f) && !f.cfg.Given {
		return nil // what one made here would have is meant
	}
	var found []entrain.Finding
	for _, name := range f.pub.missing {
		object, create := "publication "+sqltext.Ident(name), f.createPublication(name)
		switch {
		case f.standby:
			found = append(found, failure(object, "it does not exist, and a standby cannot make it: make it on the primary"))
		case create == "":
			found = append(found, failure(object, "it does not exist, and there is no table to make it for"))
		case !f.cfg.CreatePublication:
			found = append(found, failure(object, "it does not exist and source.create is not set", f.fixes(f.publisher(), create)...))
		case !f.superuser && (!f.mayCreate || len(f.foreign()) > 0):
			why := "it does not exist, and role " + sqltext.Ident(f.role) + " may not make it: that takes the owner of the tables and CREATE on the database"
			if foreign := f.foreign(); len(foreign) > 0 {
				why += "; it does not own " + some(foreign)
			}
			found = append(found, failure(object, why, f.fixes(f.publisher(), create)...))
		}
	}
	return found
}

// foreign are the tables to be published that the role may not publish.
func (f *sourceFacts) foreign() []string {
	var names []string
	for _, t := range f.carried {
		if !t.owned {
			names = append(names, t.String())
		}
	}
	return names
}

// publisher is who may make the publication: the owner of the tables if they
// have one in common and it may make anything there.
func (f *sourceFacts) publisher() string {
	other := func(t *table) bool { return t.owner != f.carried[0].owner || !t.ownerMayCreate }
	if slices.ContainsFunc(f.carried, other) {
		return superuser
	}
	return "as the owner of the tables"
}

func (f *sourceFacts) createPublication(name string) string {
	if len(f.carried) == 0 {
		return ""
	}
	names := make([]string, len(f.carried))
	for i, t := range f.carried {
		names[i] = t.String()
	}
	options := "publish_via_partition_root = true"
	if f.version >= publishesGenerated {
		options += ", publish_generated_columns = stored"
	}
	return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (%s)", sqltext.Ident(name), strings.Join(names, ", "), options)
}

// judgePublicationTables looks for wanted tables that publications, which all
// exist, leave out. Without a list of tables and without create, what is wanted
// is what they have.
func judgePublicationTables(f *sourceFacts) []entrain.Finding {
	if len(f.pub.missing) > 0 || !f.cfg.Listed && !f.cfg.CreatePublication {
		return nil
	}
	var found []entrain.Finding
	for _, t := range f.tables {
		if t.partition || t.published || t.persistence != "p" || f.leavesPublished(t) {
			continue
		}
		why := "source.tables takes it, but the publication does not have it: its changes are not carried"
		if t.member != "" {
			why = "source.tables takes it, but the publication sends its partitions, not all of which source.tables takes: " +
				"the changes of the others are not carried"
		}
		found = append(found, failure("table "+t.String(), why, f.publish(t)...))
	}
	return found
}

// publish has the publications send the table's changes under its name.
func (f *sourceFacts) publish(t *table) []entrain.Fix {
	name := f.cfg.Publications[0]
	var fixes []entrain.Fix
	if t.member == "" {
		fixes = f.fixes(tableOwner, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s", sqltext.Ident(name), t))
	} else {
		name = t.member
	}
	unwanted := func(leaf *table) bool { return !f.cfg.Wants(leaf.schema, leaf.name) }
	if t.kind == "p" && !f.pub.viaRoot && (len(t.leaves) == 0 || slices.ContainsFunc(t.leaves, unwanted)) {
		fixes = append(fixes, f.fixes("as the owner of the publication",
			fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true)", sqltext.Ident(name)))...)
	}
	return fixes
}

// leavesPublished reports whether a partitioned table is carried by its leaves.
func (f *sourceFacts) leavesPublished(root *table) bool {
	for _, leaf := range root.leaves {
		if !slices.ContainsFunc(f.carried, func(t *table) bool { return t.oid == leaf.oid }) {
			return false
		}
	}
	return len(root.leaves) > 0
}

func judgePublicationActions(f *sourceFacts) []entrain.Finding {
	if len(f.pub.unpublished) == 0 || len(f.pub.missing) > 0 {
		return nil
	}
	name := sqltext.Ident(f.cfg.Publications[0])
	return one(warning("publication "+name, "it leaves out "+strings.Join(f.pub.unpublished, ", ")+": what these change is not carried",
		f.fixes("as the owner of the publication", "ALTER PUBLICATION "+name+" SET (publish = 'insert, update, delete, truncate')")...))
}

func judgeUnlogged(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.tables {
		if t.persistence == "u" && !t.partition {
			found = append(found, warning("table "+t.String(), "it is unlogged: its changes are not in the log and are not carried, nor are its rows copied",
				f.fixes(tableOwner, "ALTER TABLE "+t.String()+" SET LOGGED")...))
		}
	}
	return found
}

// bare returns the relations of the carried tables whose updates fail at the
// source once they are published, by the form of their identity.
func (f *sourceFacts) bare(is func(form string) bool) []*table {
	if !f.pub.identified {
		return nil
	}
	var bare []*table
	for _, t := range f.carried {
		for _, r := range append([]*table{t}, t.leaves...) {
			if r.identity == "" && is(r.form) && !slices.ContainsFunc(bare, func(b *table) bool { return b.oid == r.oid }) {
				bare = append(bare, r)
			}
		}
	}
	return bare
}

const bareWhy = "once it is published, UPDATE and DELETE on it fail at the source"

func judgeIdentity(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.bare(func(form string) bool { return form != "n" }) {
		found = append(found, failure("table "+t.String(), "it has no primary key (that is not deferrable) and no other replica identity: "+bareWhy,
			f.identify(t, "FULL")...))
	}
	return found
}

func judgeIdentityNothing(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.bare(func(form string) bool { return form == "n" }) {
		form := "FULL"
		if t.primary {
			form = "DEFAULT"
		}
		found = append(found, failure("table "+t.String(), "its replica identity is NOTHING: "+bareWhy, f.identify(t, form)...))
	}
	return found
}

func (f *sourceFacts) identify(t *table, form string) []entrain.Fix {
	return f.fixes(tableOwner, "ALTER TABLE "+t.String()+" REPLICA IDENTITY "+form)
}

// judgePartitionIdentity: the server logs a row by its leaf's identity and,
// published through the root, describes it by the root's.
func judgePartitionIdentity(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, root := range f.carried {
		for _, leaf := range root.leaves {
			if leaf.identity == "" || root.identity == "" || leaf.identity == root.identity {
				continue
			}
			form := "FULL"
			if root.form == "d" {
				form = "DEFAULT"
			}
			steps := f.identify(leaf, form)
			if root.form == "i" {
				steps = append(f.identify(root, form), steps...)
			}
			found = append(found, failure("table "+leaf.String(), "its replica identity is another one than that of "+root.String()+
				", of which it is a partition: old values would be read wrongly", steps...))
		}
	}
	return found
}

// judgeGeneratedIdentity: what identifies a row has to be in the log.
func judgeGeneratedIdentity(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		var hidden []string
		stored := true
		for _, c := range t.columns {
			if c.key && c.generated != "" && !t.sends(c, f) {
				hidden, stored = append(hidden, sqltext.Ident(c.name)), stored && c.generated == "s"
			}
		}
		if len(hidden) == 0 {
			continue
		}
		finding := failure("table "+t.String(), "its replica identity has generated columns that are not published ("+some(hidden)+
			"): rows cannot be told apart, and from version 18 on UPDATE and DELETE fail at the source")
		if stored && t.published && f.version >= publishesGenerated {
			finding.Fix = f.fixes("as the owner of the publication", "ALTER PUBLICATION "+sqltext.Ident(f.cfg.Publications[0])+
				" SET (publish_generated_columns = stored)")
		}
		found = append(found, finding)
	}
	return found
}

// judgeFilterIdentity: a row filter of updates and deletes may only look at
// columns that old rows have in the log.
func judgeFilterIdentity(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		for _, fl := range t.filters {
			outside := t.named(func(c column) bool { return !c.key && slices.Contains(fl.rowColumns, c.num) })
			if len(outside) == 0 || !f.pub.identified {
				continue
			}
			found = append(found, failure("table "+t.String(), fmt.Sprintf("the row filter of publication %s looks at columns outside "+
				"the replica identity (%s): UPDATE and DELETE fail at the source", sqltext.Ident(fl.publication), sqltext.Idents(outside)),
				f.identify(t, "FULL")...))
		}
	}
	return found
}

// judgeListIdentity: so must be a list of columns.
func judgeListIdentity(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		for _, fl := range t.filters {
			missing := t.named(func(c column) bool { return c.key && fl.list != nil && !slices.Contains(fl.list, c.num) })
			if len(missing) == 0 || !f.pub.identified {
				continue
			}
			whole := t.named(func(c column) bool { return c.key || slices.Contains(fl.list, c.num) })
			add := fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s (%s)", sqltext.Ident(fl.publication), t, sqltext.Idents(whole))
			if fl.rows != "" {
				add += " WHERE (" + fl.rows + ")"
			}
			found = append(found, failure("table "+t.String(), fmt.Sprintf("the column list of publication %s lacks columns of the replica "+
				"identity (%s): UPDATE and DELETE fail at the source. What is committed while the table is not published would not be carried: "+
				"the fix is one transaction", sqltext.Ident(fl.publication), sqltext.Idents(missing)), f.fixes("as the owner of the table and the publication",
				inTransaction(fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s", sqltext.Ident(fl.publication), t), add))...))
		}
	}
	return found
}

// named returns the names of the columns that is holds for.
func (t *table) named(is func(c column) bool) []string {
	var names []string
	for _, c := range t.columns {
		if is(c) {
			names = append(names, c.name)
		}
	}
	return names
}

func judgeKeyless(f *sourceFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.carried {
		if t.form == "f" && !t.primary {
			found = append(found, warning("table "+t.String(), "it has no primary key and its whole rows identify it: each update and delete "+
				"carries the old row and is applied by itself, by looking through the target's table; a primary key makes it fast"))
		}
	}
	return found
}

// judgeUnchanged says what the log leaves out, which is well.
func judgeUnchanged(f *sourceFacts) []entrain.Finding {
	var names []string
	for _, t := range f.carried {
		if t.form != "f" && slices.ContainsFunc(t.columns, func(c column) bool { return c.toasted && !c.key }) {
			names = append(names, t.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	return one(entrain.Finding{Object: f.where, Why: "of large values that an update does not change the log has nothing, unless the replica " +
		"identity is FULL: tables at the target keep theirs, and events name them as unchanged. Tables with such columns: " + some(names)})
}
