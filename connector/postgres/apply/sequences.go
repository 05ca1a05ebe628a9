package apply

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
)

// Advance implements entrain.Advancer. Numbers that somebody draws at the target
// at the same moment are not taken back.
func (s *Sink) Advance(ctx context.Context, from []entrain.Sequence, margin int64) ([]entrain.Advance, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain "+s.cfg.Pipeline+" sequences")
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	conn, err := dial.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer dial.Close(ctx, conn)
	x := preflight.Target{Session: preflight.Session{Where: "target " + dial.ServerName(cfg)}}
	moves, err := x.Moves(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, conn, sql, args...)
	}, from, margin)
	if err != nil {
		return nil, err
	}
	done := make([]entrain.Advance, len(moves))
	for i, m := range moves {
		done[i] = m.Advance
		if m.SQL == "" {
			continue
		}
		if _, err := dial.QueryRows(ctx, conn, m.SQL); err != nil {
			return nil, fmt.Errorf("set sequence %s to %d: %w", m.Name, m.After, err)
		}
	}
	return done, nil
}
