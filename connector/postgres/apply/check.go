package apply

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
)

// Codes implements entrain.Checker.
func (s *Sink) Codes() []string { return preflight.TargetCodes() }

// Check implements entrain.Checker. It takes one session.
func (s *Sink) Check(ctx context.Context, source *entrain.Report) (entrain.Report, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain "+s.cfg.Pipeline+" check")
	if err != nil {
		return entrain.Report{}, fmt.Errorf("sink: %w", err)
	}
	session := preflight.Session{Where: "target " + dial.ServerName(cfg), Connect: dial.Address(cfg), Settings: dial.SessionSettings()}
	conn, err := dial.ReadOnly(ctx, cfg)
	if err != nil {
		return session.Refused(err, cfg)
	}
	defer dial.Close(ctx, conn)
	session.Backend = conn.PID()
	position := []string{positionSchemaSQL, positionTableSQL, loadTableSQL}
	tables := []string{"position", "load"}
	if s.cfg.VersionGate {
		position, tables = append(position, versiongate.Create...), append(tables, versiongate.Tables...)
	}
	x := preflight.Target{
		Session: session, Position: position, Own: tables,
		Copies: s.cfg.Copies, CreateTables: s.cfg.CreateTables, Pattern: connector.TablePattern, Pipeline: s.cfg.Pipeline, Source: s.cfg.Source,
		Gate: preflight.Gate{On: s.cfg.VersionGate, Strategy: s.cfg.ConflictStrategy, Family: family(s.cfg.Pipeline),
			SoftDelete: s.cfg.SoftDelete.Column, Tables: versiongate.Tables, Relations: len(versiongate.Create)},
	}
	return x.Examine(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, conn, sql, args...)
	}, source)
}
