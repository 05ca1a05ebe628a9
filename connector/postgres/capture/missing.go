package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// MissingTables implements entrain.TableFinder: the tables that the configuration
// takes and the publication, which is ours, does not have. Partitions are
// their partitioned table's matter.
func (s *Source) MissingTables(ctx context.Context) ([]entrain.TableName, error) {
	if !s.cfg.Create || len(s.cfg.Publications) > 0 {
		return nil, nil
	}
	pub, err := s.lookAtPublication(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]entrain.TableName{}
	looking := *s
	looking.wants = func(schema, name string) bool {
		names[sqltext.Table(schema, name)] = entrain.TableName{Schema: schema, Name: name}
		return s.wants(schema, name)
	}
	tables, err := looking.tables(ctx)
	if err != nil {
		return nil, err
	}
	var missing []entrain.TableName
	for _, t := range tables {
		if !t.partition && !t.carried(pub) {
			missing = append(missing, names[t.name])
		}
	}
	return missing, nil
}

// lookAtPublication asks for what tells whether a table is carried.
func (s *Source) lookAtPublication(ctx context.Context) (pub publication, err error) {
	err = s.withConn(ctx, func(conn *pgconn.PgConn) error {
		row, err := dial.QueryRow(ctx, conn, "SELECT pubviaroot FROM pg_publication WHERE pubname = $1", s.cfg.Publication)
		if err != nil {
			return fmt.Errorf("look for publication %s: %w", s.cfg.Publication, err)
		}
		if row == nil {
			return stopPublicationGone([]string{s.cfg.Publication}, nil)
		}
		pub.viaRoot = row[0] == "t"
		return nil
	})
	return pub, err
}
