package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// publication is what the catalog says about ours, of several taken together: a
// change is sent if one of them publishes it.
type publication struct {
	missing     []string // names of those that do not exist
	viaRoot     bool
	unpublished []string // actions that all of them leave out
}

// publishesGenerated is the first version that can publish generated columns,
// and that refuses to update published rows whose identity has others.
const publishesGenerated = 180000

// publications lists the names of the publications to read from.
func (cfg Config) publications() []string {
	if len(cfg.Publications) > 0 {
		return cfg.Publications
	}
	return []string{cfg.Publication}
}

// quoteEach quotes names and joins them by commas.
func quoteEach(names []string, quote func(string) string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ",")
}

func (s *session) publication(ctx context.Context) (publication, error) {
	names := s.src.cfg.publications()
	actions := [...]string{"insert", "update", "delete", "truncate"}
	rows, err := s.query(ctx, `SELECT pubname, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate
		FROM pg_publication WHERE pubname IN (`+quoteEach(names, sqltext.Literal)+`)`)
	if err != nil {
		return publication{}, fmt.Errorf("look for publication %s: %w", strings.Join(names, ", "), err)
	}
	var p publication
	found := make(map[string]bool)
	published := make(map[string]bool)
	for _, row := range rows {
		found[row[0]] = true
		p.viaRoot = p.viaRoot || row[1] == "t"
		for i, action := range actions {
			published[action] = published[action] || row[2+i] == "t"
		}
	}
	for _, name := range names {
		if !found[name] {
			p.missing = append(p.missing, name)
		}
	}
	for _, action := range actions {
		if !published[action] {
			p.unpublished = append(p.unpublished, action)
		}
	}
	return p, nil
}

// ensurePublication checks the publication, and makes it if it is missing and
// may be made: before the slot, since changes decoded at a point where it does
// not exist are gone. Later in a history its absence is a named stop.
func (s *session) ensurePublication(ctx context.Context, from entrain.Position) error {
	cfg := s.src.cfg
	pub, err := s.publication(ctx)
	if err != nil {
		return err
	}
	if len(pub.missing) > 0 && !from.IsZero() {
		return stopPublicationGone(pub.missing, nil)
	}
	tables, err := s.src.tables(ctx)
	if err != nil {
		return err
	}
	if len(pub.missing) == 0 {
		return s.checkPublication(pub, tables)
	}
	if tables, err = s.publishable(tables); err != nil {
		return err
	}
	create := s.createPublication(pub.missing[0], tables)
	if !cfg.Create || len(cfg.Publications) > 0 {
		return stopPublicationNotMade(pub.missing[0], create)
	}
	if _, err := s.query(ctx, create); err != nil {
		return createPublicationError(err, cfg, create)
	}
	cfg.Log.Info("created publication", "publication", cfg.Publication, "tables", len(tables))
	s.src.warnPartitioned(tables)
	return nil
}

// createPublication is the SQL that makes a publication of the tables, as
// complete as the server can: with the generated columns that it stores.
func (s *session) createPublication(name string, tables []sourceTable) string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	options := "publish_via_partition_root = true"
	if s.version >= publishesGenerated {
		options += ", publish_generated_columns = stored"
	}
	return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (%s)",
		sqltext.Ident(name), strings.Join(names, ", "), options)
}

// publishable returns what a new publication is for: partitioned tables
// instead of their partitions. A table without a replica identity is a named
// stop: published, its updates and deletes would fail at the source.
func (s *session) publishable(tables []sourceTable) ([]sourceTable, error) {
	cfg := s.src.cfg
	var roots []sourceTable
	var bare, mend []string
	for _, t := range tables {
		if t.partition {
			continue
		}
		roots = append(roots, t)
		if names := t.bare(); len(names) > 0 {
			bare = append(bare, names...)
			mend = append(mend, t.mend()...)
		}
	}
	switch {
	case len(roots) == 0:
		return nil, stopNoTables(cfg)
	case len(bare) > 0:
		return nil, stopNoIdentity(bare, mend)
	}
	if err := checkGenerated(roots, s.version); err != nil {
		return nil, err
	}
	return roots, checkMixed(roots)
}

// checkGenerated refuses tables that a new publication would break or could
// not tell the rows of apart, for the generated columns in their identity.
func checkGenerated(tables []sourceTable, version int) error {
	var hidden, mend []string
	for _, t := range tables {
		if columns := t.unknowable(version); columns != "" {
			hidden = append(hidden, t.name+" ("+columns+")")
			mend = append(mend, t.mendGenerated())
		}
	}
	if len(hidden) > 0 {
		return stopGeneratedIdentity(hidden, mend)
	}
	return nil
}

// checkMixed refuses tables whose rows the log would describe wrongly.
func checkMixed(tables []sourceTable) error {
	var mixed, mend []string
	for _, t := range tables {
		if names := t.mixed(); len(names) > 0 {
			mixed = append(mixed, names...)
			mend = append(mend, t.mend()...)
		}
	}
	if len(mixed) > 0 {
		return stopPartitionIdentity(mixed, mend)
	}
	return nil
}

// checkPublication judges a publication that exists. What is merely left out
// or already failing at the source is said; what would be read wrongly is a
// named stop.
func (s *session) checkPublication(pub publication, tables []sourceTable) error {
	cfg := s.src.cfg
	var published []sourceTable
	var bare, mend []string
	for _, t := range tables {
		if !t.published {
			s.warnMissing(pub, t)
			continue
		}
		published = append(published, t)
		if names := t.bare(); len(names) > 0 {
			bare = append(bare, names...)
			mend = append(mend, t.mend()...)
		}
	}
	if len(pub.unpublished) > 0 {
		name := cfg.publications()[0]
		s.src.warn("the publication leaves actions out: what they change is not carried",
			"publication", name, "actions", strings.Join(pub.unpublished, ", "),
			"next", "ALTER PUBLICATION "+sqltext.Ident(name)+" SET (publish = 'insert, update, delete, truncate');")
	}
	if len(bare) > 0 {
		s.src.warn("published tables without a replica identity: UPDATE and DELETE on them fail at the source",
			"tables", strings.Join(bare, ", "), "next", strings.Join(mend, " "))
	}
	s.src.warnPartitioned(published)
	if s.version >= publishesGenerated {
		s.warnGenerated(published)
	} else if err := checkGenerated(published, s.version); err != nil {
		return err
	}
	return checkMixed(published)
}

// warnGenerated names published tables that the server refuses to update.
func (s *session) warnGenerated(published []sourceTable) {
	var names, mend []string
	for _, t := range published {
		switch {
		case t.virtual != "":
			mend = append(mend, t.mendGenerated())
		case t.stored != "":
			mend = append(mend, publishGenerated(s.src.cfg.publications()[0]))
		default:
			continue
		}
		names = append(names, t.name)
	}
	if len(names) > 0 {
		s.src.warn("published tables whose identity has generated columns that are not published: UPDATE and DELETE on them fail at the source",
			"tables", strings.Join(names, ", "), "next", strings.Join(slices.Compact(mend), " "))
	}
}

// warnMissing names a wanted table that the publication does not have. Without
// include and create, what is wanted is what the publication has.
func (s *session) warnMissing(pub publication, t sourceTable) {
	cfg := s.src.cfg
	if t.partition || t.carried(pub) || len(cfg.Tables.Include) == 0 && !cfg.Create {
		return
	}
	what := "a table that source.tables takes is not in the publication: its changes are not carried"
	if t.member != "" {
		what = "a table that source.tables takes is sent as its partitions, not all of which source.tables takes: the changes of the others are not carried"
	}
	s.src.warn(what,
		"table", t.name, "publication", cfg.publications()[0],
		"next", t.publish(pub, cfg.publications()[0]))
}

// warnPartitioned names the tables of which the log has, published through the
// root, only the rows' changes.
func (s *Source) warnPartitioned(published []sourceTable) {
	var names []string
	for _, t := range published {
		if t.partitioned {
			names = append(names, t.name)
		}
	}
	if len(names) > 0 {
		s.warn("of partitioned tables, TRUNCATE, ATTACH, DETACH and DROP of a single partition are not carried",
			"tables", strings.Join(names, ", "))
	}
}
