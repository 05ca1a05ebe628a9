package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// Renew implements entrain.Renewer: it drops the slot, which Open makes again. One
// that was made by hand stays.
func (s *Source) Renew(ctx context.Context) error {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain")
	if err != nil {
		return err
	}
	if !s.cfg.Create {
		return &entrain.Stop{
			Code: "slot_not_ours",
			What: fmt.Sprintf("replication slot %q has to be made again, and source.create is not set", s.cfg.Slot),
			Why:  "what was made by hand is not removed",
			Next: dropSlot(s.cfg.Slot) + "; SELECT pg_create_logical_replication_slot(" + quoted(s.cfg.Slot) + ", 'pgoutput');",
		}
	}
	if err := s.forgetMark(); err != nil {
		return err
	}
	return s.withConn(ctx, func(conn *pgconn.PgConn) error {
		row, err := dial.QueryRow(ctx, conn, "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", s.cfg.Slot)
		if err != nil || row == nil {
			return err
		}
		if _, err := dial.QueryRows(ctx, conn, dropSlot(s.cfg.Slot)); err != nil {
			return fmt.Errorf("drop replication slot %s on %s: %w", s.cfg.Slot, dial.ServerName(cfg), err)
		}
		s.cfg.Log.Warn("dropped a replication slot that is of no use any more", "slot", s.cfg.Slot)
		return nil
	})
}
