package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/digest"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
)

// Digest implements entrain.Digester. The session is an entrain.Reacher.
func (s *Sink) Digest(ctx context.Context) (entrain.DigestSession, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain "+s.cfg.Pipeline+" verify")
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	conn, err := dial.ReadOnly(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &digestSession{sink: s, server: dial.ServerName(cfg), conn: conn, stop: context.WithoutCancel(ctx),
		Reader: &digest.Reader{Conn: conn, TypeSQL: preflight.TypeSQL, Classify: dial.Classify}}, nil
}

// digestSession sums up the target's tables.
type digestSession struct {
	*digest.Reader
	sink   *Sink
	server string
	conn   *pgconn.PgConn
	stop   context.Context // for Close
}

// Close implements entrain.DigestSession.
func (d *digestSession) Close() error {
	dial.Close(d.stop, d.conn)
	return nil
}

// Tables implements entrain.DigestSession.
func (d *digestSession) Tables(ctx context.Context, delivered []*entrain.Table) ([]entrain.DigestTable, error) {
	x := preflight.Target{Session: preflight.Session{Where: "target " + d.server}}
	receivers, err := x.Receivers(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, d.conn, sql, args...)
	}, delivered)
	if err != nil {
		return nil, err
	}
	shapes := make([]*entrain.Table, len(receivers))
	for i, r := range receivers {
		shapes[i] = r.Table
	}
	sizes, err := d.Sizes(ctx, shapes)
	if err != nil {
		return nil, err
	}
	tables := make([]entrain.DigestTable, len(receivers))
	for i, r := range receivers {
		tables[i] = entrain.DigestTable{Table: r.Table, Computed: r.Computed, Refused: r.Refused,
			Rows: sizes[i].Rows, Encoding: sizes[i].Encoding}
	}
	return tables, nil
}

// Reached implements entrain.Reacher.
func (d *digestSession) Reached(ctx context.Context) (entrain.Position, error) {
	there, err := dial.QueryRow(ctx, d.conn, "SELECT coalesce(to_regclass('entrain.position')::text, '')")
	if err != nil || there[0] == "" {
		return entrain.Position{}, err
	}
	row, err := dial.QueryRow(ctx, d.conn, readRowSQL, d.sink.cfg.Pipeline, d.sink.cfg.Source)
	if err != nil || row == nil {
		return entrain.Position{}, err
	}
	return entrain.Position{Incarnation: row[2], Offset: row[3]}, nil
}
