package capture

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
)

// Sequences implements entrain.Sequencer.
func (s *Source) Sequences(ctx context.Context) ([]entrain.Sequence, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("source.url: %w", err)
	}
	conn, err := dial.ReadOnly(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer dial.Close(ctx, conn)
	return s.examination(dial.ServerName(cfg)).Sequences(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, conn, sql, args...)
	})
}

// examination is what tells the captured tables.
func (s *Source) examination(server string) preflight.Source {
	return preflight.Source{Session: preflight.Session{Where: "source " + server}, Slot: s.cfg.Slot, Publications: s.cfg.publications(),
		Wants: s.wants, Named: s.named, Kind: kindOf}
}
