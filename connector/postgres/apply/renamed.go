package apply

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

const (
	hasPositionsSQL = `SELECT to_regclass('entrain.position') IS NOT NULL AND has_table_privilege(to_regclass('entrain.position'), 'SELECT')`
	positionsOfSQL  = `SELECT DISTINCT pipeline FROM entrain.position WHERE starts_with(pipeline, $1 || ':') AND source = $2 AND incarnation <> '' ORDER BY 1`
)

// PositionsOf lists the names under which deliveries of a pipeline behind a stream,
// PIPELINE:SINK or PIPELINE:SINK:PARTITION, have delivered anything into the target; none if our
// role may not read them. It may be called at any time from any goroutine.
func (s *Sink) PositionsOf(ctx context.Context, pipeline string) ([]string, error) {
	conn, err := dial.Connect(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	defer dial.Close(ctx, conn)
	has, err := dial.QueryRow(ctx, conn, hasPositionsSQL)
	if err != nil || has[0] != "true" && has[0] != "t" {
		return nil, err
	}
	rows, err := dial.QueryRows(ctx, conn, positionsOfSQL, pipeline, s.cfg.Source)
	if err != nil {
		return nil, fmt.Errorf("read the position rows: %w", err)
	}
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row[0]
	}
	return names, nil
}
