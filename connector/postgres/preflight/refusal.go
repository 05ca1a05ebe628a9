package preflight

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const stateProtocol = "08P01" // SQLSTATE

// Refused is the report of an end whose server does not take the session that
// cfg asks for: what refuses it for a reason that can be mended is the one
// finding then; any other error stays one.
func (s Session) Refused(err error, cfg *pgconn.Config) (entrain.Report, error) {
	finding, found := s.refusal(err, cfg)
	if !found {
		return entrain.Report{}, err
	}
	finding.Status, finding.Object, finding.Doc = entrain.FindingError, s.Where, Doc(finding.Code)
	return entrain.Report{Server: s.Where, Connect: s.Connect, Findings: []entrain.Finding{finding}}, nil
}

func (s Session) refusal(err error, cfg *pgconn.Config) (entrain.Finding, bool) {
	var stop *entrain.Stop
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &stop) && stop.Code == "no_connect_right":
		return entrain.Finding{Code: "connect_right", Why: stop.What + ": " + stop.Why,
			Fix: []entrain.Fix{{Where: s.Where + ", as the owner of the database",
				SQL: fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", sqltext.Ident(cfg.Database), sqltext.Ident(cfg.User))}}}, true
	case errors.As(err, &pgErr) && pgErr.Code == stateProtocol:
		return entrain.Finding{Code: "pooler",
			Why: fmt.Sprintf("what answers refuses settings that every server takes, as poolers do (PgBouncer, say): %v; "+
				"set the url to the server's own host and port", err)}, true
	}
	return entrain.Finding{}, false
}
