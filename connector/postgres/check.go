package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Codes implements entrain.Checker.
func (s *Source) Codes() []string { return preflight.SourceCodes() }

// Codes implements entrain.Checker.
func (s *Sink) Codes() []string { return preflight.TargetCodes() }

// Check implements entrain.Checker. It takes one ordinary and, for a moment,
// one replication session.
func (s *Source) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	cfg, err := parseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return entrain.Report{}, fmt.Errorf("source.url: %w", err)
	}
	application := cfg.RuntimeParams["application_name"] // the URL may have one
	cfg.RuntimeParams["application_name"] = application + "_check"
	x := preflight.Source{
		Slot: s.cfg.Slot, Publications: s.cfg.publications(), CreateSlot: s.cfg.Create,
		CreatePublication: s.cfg.Create && len(s.cfg.Publications) == 0,
		Listed:            len(s.cfg.Tables.Include) > 0, Wants: s.wants, Kind: kindOf, Application: application,
		DecodingWorkMem: int64(s.cfg.DecodingWorkMem), MuchHeld: warnHeld,
	}
	return inspect(ctx, cfg, "source", func(session preflight.Session, ask preflight.Ask) (entrain.Report, error) {
		x.Session = session
		if x.Replication = tryReplication(ctx, cfg); ctx.Err() != nil {
			return entrain.Report{}, ctx.Err()
		}
		return x.Examine(ctx, ask)
	})
}

// Check implements entrain.Checker. It takes one session.
func (s *Sink) Check(ctx context.Context, source *entrain.Report) (entrain.Report, error) {
	cfg, err := parseURL(s.cfg.URL, "entrain "+s.cfg.Pipeline+" check")
	if err != nil {
		return entrain.Report{}, fmt.Errorf("sink: %w", err)
	}
	x := preflight.Target{Position: []string{positionSchemaSQL, positionTableSQL}}
	return inspect(ctx, cfg, "target", func(session preflight.Session, ask preflight.Ask) (entrain.Report, error) {
		x.Session = session
		return x.Examine(ctx, ask, source)
	})
}

// inspect lets examine use a read-only session whose statements end when ctx
// does. What refuses the session for a reason that can be mended is the one
// finding then.
func inspect(ctx context.Context, cfg *pgconn.Config, end string,
	examine func(session preflight.Session, ask preflight.Ask) (entrain.Report, error)) (entrain.Report, error) {
	const lockTimeout = 2 * time.Second
	cfg.RuntimeParams["lock_timeout"] = milliseconds(lockTimeout)
	if deadline, ok := ctx.Deadline(); ok {
		cfg.RuntimeParams["statement_timeout"] = milliseconds(time.Until(deadline))
	}
	session := preflight.Session{Where: end + " " + serverName(cfg), Connect: clientAddress(cfg), Settings: sessionSettings}
	conn, err := connect(ctx, cfg)
	if err != nil {
		if finding, ok := refusal(err, cfg, session.Where); ok {
			return entrain.Report{Server: session.Where, Connect: session.Connect, Findings: []entrain.Finding{finding}}, nil
		}
		return entrain.Report{}, err
	}
	defer closeConn(ctx, conn)
	// Not among the settings that the session begins with: what the server has
	// configured is to be seen.
	if _, err := queryRows(ctx, conn, "SET default_transaction_read_only = on"); err != nil {
		return entrain.Report{}, fmt.Errorf("examine %s: %w", session.Where, err)
	}
	session.Backend = conn.PID()
	return examine(session, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return queryRows(ctx, conn, sql, args...)
	})
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}

// clientAddress is the connection string that reaches the server, without a
// role or a credential.
func clientAddress(cfg *pgconn.Config) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s", connWord(cfg.Host), cfg.Port, connWord(cfg.Database))
}

// tryReplication opens a replication session and ends it. Refusals that other
// findings explain are none here.
func tryReplication(ctx context.Context, base *pgconn.Config) error {
	cfg := base.Copy()
	cfg.RuntimeParams["replication"] = "database"
	conn, err := connect(ctx, cfg)
	switch state := sqlState(err); {
	case state == stateNoPrivilege, state == stateTooMany:
		return nil
	case err != nil:
		return err
	}
	closeConn(ctx, conn)
	return nil
}

const (
	stateTooMany  = "53300" // connections or walsenders
	stateProtocol = "08P01"
)

// refusal makes a finding of why a server does not take the session.
func refusal(err error, cfg *pgconn.Config, where string) (entrain.Finding, bool) {
	var stop *entrain.Stop
	switch {
	case errors.As(err, &stop) && stop.Code == "no_connect_right":
		return entrain.Finding{Code: "connect_right", Status: entrain.FindingError, Object: where, Doc: preflight.Doc("connect_right"),
			Why: stop.What + ": " + stop.Why, Fix: []entrain.Fix{{Where: where + ", as the owner of the database",
				SQL: fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", sqltext.Ident(cfg.Database), sqltext.Ident(cfg.User))}}}, true
	case sqlState(err) == stateProtocol:
		return entrain.Finding{Code: "pooler", Status: entrain.FindingError, Object: where, Doc: preflight.Doc("pooler"),
			Why: fmt.Sprintf("what answers refuses settings that every server takes, as poolers do (PgBouncer, say): %v; "+
				"set the url to the server's own host and port", err)}, true
	}
	return entrain.Finding{}, false
}

// connWord quotes a word of a connection string.
func connWord(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
