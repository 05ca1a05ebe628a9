package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// ensurePublication makes the publication if it is missing and may be made:
// before the slot, since changes decoded at a point where it does not exist
// are gone. Later in a history its absence is a named stop.
func (s *session) ensurePublication(ctx context.Context, from entrain.Position) error {
	cfg := s.src.cfg
	rows, err := s.query(ctx, "SELECT 1 FROM pg_publication WHERE pubname = "+quoteLiteral(cfg.Publication))
	if err != nil {
		return fmt.Errorf("look for publication %s: %w", cfg.Publication, err)
	}
	if len(rows) > 0 {
		return nil
	}
	if !from.IsZero() {
		return stopPublicationGone(cfg, nil)
	}
	tables, err := s.publishable(ctx)
	if err != nil {
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
	return nil
}

func createPublication(name string, tables []string) string {
	return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish_via_partition_root = true)",
		quoteIdent(name), strings.Join(tables, ", "))
}

// publishable lists the tables to publish, quoted: those that the patterns
// take, permanent ones, partitioned ones instead of their partitions. A table
// without a replica identity is a named stop: published, its updates and
// deletes would fail at the source.
func (s *session) publishable(ctx context.Context) ([]string, error) {
	rows, err := s.query(ctx, `SELECT n.nspname, c.relname,
		CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
		WHEN 'i' THEN EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
		ELSE EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
		AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
			AND d.objid = c.oid AND d.deptype = 'e')
		ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var tables, bare []string
	for _, row := range rows {
		if !s.src.wants(row[0], row[1]) {
			continue
		}
		quoted := quoteTable(row[0], row[1])
		tables = append(tables, quoted)
		if row[2] != "t" {
			bare = append(bare, quoted)
		}
	}
	switch {
	case len(tables) == 0:
		return nil, stopNoTables(s.src.cfg)
	case len(bare) > 0:
		return nil, stopNoIdentity(s.src.cfg, bare)
	}
	return tables, nil
}
