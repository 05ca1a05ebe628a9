package capture

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// Withdraw implements entrain.Withdrawer: it drops the slot that a cancelled copy
// made. Nothing has been read through it, so it still stands where it was made; one
// of the same name that stands elsewhere was made by somebody else.
func (s *Source) Withdraw(ctx context.Context, slot, incarnation string) error {
	return s.withConn(ctx, func(conn *pgconn.PgConn) error {
		row, err := dial.QueryRow(ctx, conn, `SELECT system_identifier::text, confirmed_flush_lsn::text
			FROM pg_replication_slots, pg_control_system() WHERE slot_name = $1`, slot)
		if err != nil {
			return fmt.Errorf("look for replication slot %s: %w", slot, err)
		}
		if row == nil {
			return nil
		}
		at, err := parseLSN(row[1])
		if err != nil {
			return fmt.Errorf("position of replication slot %s: %w", slot, err)
		}
		if now := row[0] + "-" + strconv.FormatUint(uint64(at), 16); incarnation != "" && now != incarnation {
			s.cfg.Log.Warn("the replication slot is not the one that the cancelled copy made, and stays", "slot", slot, "drop it by", dropSlot(slot)+";")
			return nil
		}
		_, err = dial.QueryRows(ctx, conn, dropSlot(slot))
		if err != nil && dial.SQLState(err) != undefinedObject {
			return fmt.Errorf("drop replication slot %s: %w", slot, err)
		}
		return nil
	})
}
