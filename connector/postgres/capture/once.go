package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// CopiedOnce implements entrain.OnceLister: the views, materialized views and
// foreign tables that source.tables.include names without a wildcard.
func (s *Source) CopiedOnce(ctx context.Context) ([]entrain.TableName, error) {
	if s.named == nil {
		return nil, nil
	}
	var names []entrain.TableName
	err := s.withConn(ctx, func(conn *pgconn.PgConn) error {
		rows, err := dial.QueryRows(ctx, conn, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
			ORDER BY 1, 2`)
		for _, r := range rows {
			if s.named(r[0], r[1]) {
				names = append(names, entrain.TableName{Schema: r[0], Name: r[1]})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list views: %w", err)
	}
	return names, nil
}
