package capture

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Teardown implements entrain.Teardowner: the slot, which otherwise holds back
// the source's log for ever, and the publication, if they were made here
// (Create), and what the script of entrain check --ddl made. What does not exist is not listed. A slot that was made by hand
// stays; the log says so, and how to drop it.
func (s *Source) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain")
	if err != nil {
		return nil, err
	}
	server := dial.ServerName(cfg)
	var removals []entrain.Removal
	err = s.withConn(ctx, func(conn *pgconn.PgConn) error {
		for _, look := range []func(context.Context, *pgconn.PgConn, string) ([]entrain.Removal, error){s.leftSlot, s.leftPublication, s.leftTellers} {
			some, err := look(ctx, conn, server)
			if err != nil {
				return err
			}
			removals = append(removals, some...)
		}
		return nil
	})
	return removals, err
}

func (s *Source) leftSlot(ctx context.Context, conn *pgconn.PgConn, server string) ([]entrain.Removal, error) {
	row, err := dial.QueryRow(ctx, conn, "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", s.cfg.Slot)
	if err != nil {
		return nil, fmt.Errorf("look for replication slot %s: %w", s.cfg.Slot, err)
	}
	slot := s.removal(fmt.Sprintf("replication slot %q on %s", s.cfg.Slot, server), dropSlot(s.cfg.Slot))
	switch {
	case row == nil:
		return nil, nil
	case !s.cfg.Create:
		s.cfg.Log.Warn("slot and publication were not made by entrain (source.create is not set) and stay; "+
			"an unused slot holds back the source's log for ever", "what", slot.What, "drop it by", slot.SQL)
		return nil, nil
	}
	return []entrain.Removal{slot}, nil
}

func (s *Source) leftPublication(ctx context.Context, conn *pgconn.PgConn, server string) ([]entrain.Removal, error) {
	if !s.cfg.Create || len(s.cfg.Publications) > 0 {
		return nil, nil
	}
	row, err := dial.QueryRow(ctx, conn, `SELECT pg_is_in_recovery(), pg_has_role(pubowner, 'USAGE'), pg_get_userbyid(pubowner)
		FROM pg_publication WHERE pubname = $1`, s.cfg.Publication)
	if err != nil {
		return nil, fmt.Errorf("look for publication %s: %w", s.cfg.Publication, err)
	}
	drop := "DROP PUBLICATION IF EXISTS " + sqltext.Ident(s.cfg.Publication)
	switch {
	case row == nil:
		return nil, nil
	case row[0] == "t":
		s.cfg.Log.Warn("the publication is the primary's, which this standby cannot change; it stays",
			"publication", s.cfg.Publication, "drop it on the primary by", drop+";")
		return nil, nil
	case row[1] != "t":
		s.cfg.Log.Warn("the publication belongs to another role and stays",
			"publication", s.cfg.Publication, "owner", row[2], "drop it by", drop+";")
		return nil, nil
	}
	return []entrain.Removal{s.removal(fmt.Sprintf("publication %q on %s", s.cfg.Publication, server), drop)}, nil
}

// removal executes statements, without semicolons, in their order.
func (s *Source) removal(what string, statements ...string) entrain.Removal {
	return entrain.Removal{What: what, SQL: strings.Join(statements, ";\n") + ";", Do: func(ctx context.Context) error {
		err := s.withConn(ctx, func(conn *pgconn.PgConn) error {
			for _, sql := range statements {
				if _, err := dial.QueryRows(ctx, conn, sql); err != nil && dial.SQLState(err) != undefinedObject {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove %s: %w", what, err)
		}
		return nil
	}}
}

// withConn runs do with an ordinary connection to the source.
func (s *Source) withConn(ctx context.Context, do func(conn *pgconn.PgConn) error) error {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return err
	}
	return dial.InSession(ctx, cfg, do)
}
