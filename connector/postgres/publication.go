package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// publication is what the catalog says about ours.
type publication struct {
	exists, viaRoot bool
	unpublished     []string // actions that it leaves out
}

func (s *session) publication(ctx context.Context) (publication, error) {
	rows, err := s.query(ctx, `SELECT pubviaroot, concat_ws(',', CASE WHEN NOT pubinsert THEN 'insert' END,
		CASE WHEN NOT pubupdate THEN 'update' END, CASE WHEN NOT pubdelete THEN 'delete' END,
		CASE WHEN NOT pubtruncate THEN 'truncate' END)
		FROM pg_publication WHERE pubname = `+quoteLiteral(s.src.cfg.Publication))
	if err != nil {
		return publication{}, fmt.Errorf("look for publication %s: %w", s.src.cfg.Publication, err)
	}
	if len(rows) == 0 {
		return publication{}, nil
	}
	p := publication{exists: true, viaRoot: rows[0][0] == "t"}
	if rows[0][1] != "" {
		p.unpublished = strings.Split(rows[0][1], ",")
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
	if !pub.exists && !from.IsZero() {
		return stopPublicationGone(cfg, nil)
	}
	tables, err := s.src.tables(ctx)
	if err != nil {
		return err
	}
	if pub.exists {
		return s.checkPublication(pub, tables)
	}
	if tables, err = publishable(cfg, tables); err != nil {
		return err
	}
	create := createPublication(cfg.Publication, tables)
	if !cfg.Create {
		return stopPublicationNotMade(cfg, create)
	}
	if _, err := s.query(ctx, create); err != nil {
		return createPublicationError(err, cfg, create)
	}
	cfg.Log.Info("created publication", "publication", cfg.Publication, "tables", len(tables))
	s.warnPartitioned(tables)
	return nil
}

func createPublication(name string, tables []sourceTable) string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish_via_partition_root = true)",
		quoteIdent(name), strings.Join(names, ", "))
}

// publishable returns what a new publication is for: partitioned tables
// instead of their partitions. A table without a replica identity is a named
// stop: published, its updates and deletes would fail at the source.
func publishable(cfg SourceConfig, tables []sourceTable) ([]sourceTable, error) {
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
	return roots, checkMixed(roots)
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
		cfg.Log.Warn("the publication leaves actions out: what they change is not carried",
			"publication", cfg.Publication, "actions", strings.Join(pub.unpublished, ", "),
			"next", "ALTER PUBLICATION "+quoteIdent(cfg.Publication)+" SET (publish = 'insert, update, delete, truncate');")
	}
	if len(bare) > 0 {
		cfg.Log.Warn("published tables without a replica identity: UPDATE and DELETE on them fail at the source",
			"tables", strings.Join(bare, ", "), "next", strings.Join(mend, " "))
	}
	s.warnPartitioned(published)
	return checkMixed(published)
}

// warnMissing names a wanted table that the publication does not have. Without
// include and create, what is wanted is what the publication has.
func (s *session) warnMissing(pub publication, t sourceTable) {
	cfg := s.src.cfg
	if t.partition || t.carried(pub) || len(cfg.Tables.Include) == 0 && !cfg.Create {
		return
	}
	cfg.Log.Warn("a table that source.tables takes is not in the publication: its changes are not carried",
		"table", t.name, "publication", cfg.Publication,
		"next", fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", quoteIdent(cfg.Publication), t.name))
}

// warnPartitioned names the tables of which the log has, published through the
// root, only the rows' changes.
func (s *session) warnPartitioned(published []sourceTable) {
	var names []string
	for _, t := range published {
		if t.partitioned {
			names = append(names, t.name)
		}
	}
	if len(names) > 0 {
		s.src.cfg.Log.Warn("of partitioned tables, TRUNCATE, ATTACH, DETACH and DROP of a single partition are not carried",
			"tables", strings.Join(names, ", "))
	}
}
