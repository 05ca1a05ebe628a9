package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
)

// Codes implements entrain.Checker.
func (s *Source) Codes() []string { return preflight.SourceCodes() }

// Check implements entrain.Checker. It takes one ordinary and, for a moment,
// one replication session.
func (s *Source) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return entrain.Report{}, fmt.Errorf("source.url: %w", err)
	}
	application := cfg.RuntimeParams["application_name"] // the URL may have one
	cfg.RuntimeParams["application_name"] = application + "_check"
	session := preflight.Session{Where: "source " + dial.ServerName(cfg), Connect: dial.Address(cfg), Settings: dial.SessionSettings()}
	conn, err := dial.ReadOnly(ctx, cfg)
	if err != nil {
		return session.Refused(err, cfg)
	}
	defer dial.Close(ctx, conn)
	session.Backend = conn.PID()
	x := preflight.Source{
		Session: session,
		Slot:    s.cfg.Slot, Publications: s.cfg.publications(), CreateSlot: s.cfg.Create,
		CreatePublication: s.cfg.Create && len(s.cfg.Publications) == 0,
		Listed:            len(s.cfg.Tables.Include) > 0, Wants: s.wants, Named: s.named, Never: s.cfg.Never, Kind: kindOf, Application: application,
		Copies: s.cfg.Copies, Standalone: s.cfg.Standalone, Given: len(s.cfg.Publications) > 0, DecodingWorkMem: int64(s.cfg.DecodingWorkMem), MuchHeld: int64(s.cfg.Guard.Warn),
		Size: func(bytes int64) string { return connector.ByteSize(bytes).String() },
	}
	if x.Replication = tryReplication(ctx, cfg); ctx.Err() != nil {
		return entrain.Report{}, ctx.Err()
	}
	report, err := x.Examine(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, conn, sql, args...)
	})
	report.Name = s.cfg.Name
	return report, err
}

const stateTooMany = "53300" // SQLSTATE: connections or walsenders

// tryReplication opens a replication session and ends it. Refusals that other
// findings explain are none here.
func tryReplication(ctx context.Context, base *pgconn.Config) error {
	cfg := base.Copy()
	cfg.RuntimeParams["replication"] = "database"
	conn, err := dial.Connect(ctx, cfg)
	switch state := dial.SQLState(err); {
	case state == dial.StateNoPrivilege, state == stateTooMany:
		return nil
	case err != nil:
		return err
	}
	dial.Close(ctx, conn)
	return nil
}
