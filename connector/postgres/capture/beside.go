package capture

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// Beside is what a session needs that reads tables while the stream flows.
type Beside struct {
	// Server is the configuration of the session, which goes where the URL leads.
	Server *pgconn.Config
	// Publications to be read from, Wants is the choice among their tables, Kind
	// says how values of a type read.
	Publications []string
	Wants        func(schema, name string) bool
	Kind         func(typ string) entrain.Kind
	// MaxEventBytes is the largest row that is taken into memory.
	MaxEventBytes int
	// Beat is a statement that makes the stream move its position behind it.
	Beat string
	// At returns where in the log a position stands: an LSN.
	At func(p entrain.Position) (uint64, error)
	// Open lists, for people, transactions that have written and are open, the
	// oldest ones; it asks by the session. What cannot be found out is left out.
	Open func(ctx context.Context, conn *pgconn.PgConn) []string
	// Log is the source's.
	Log *slog.Logger
}

// Beside returns what a session of that role needs beside the stream; it does not
// dial.
func (s *Source) Beside(role string) (*Beside, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline+"_"+role)
	if err != nil {
		return nil, dial.FileChanges(fmt.Errorf("source.url: %w", err))
	}
	return &Beside{
		Server: cfg, Publications: s.cfg.publications(), Wants: s.wants, Kind: kindOf,
		MaxEventBytes: int(s.cfg.MaxEventBytes), Beat: writeHeartbeat, At: logPosition,
		Open: func(ctx context.Context, conn *pgconn.PgConn) []string {
			return describeAll(listOpen(ctx, conn, s.cfg.Log))
		},
		Log: s.cfg.Log,
	}, nil
}

// logPosition is where a position of ours stands in the log.
func logPosition(p entrain.Position) (uint64, error) {
	at, err := parsePlace(p.Offset)
	return uint64(at.at), err
}
