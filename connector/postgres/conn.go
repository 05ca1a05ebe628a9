package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/blockconn"
)

// sessionSettings make every session read and write values the same way,
// whatever the server, the database or the role has set.
var sessionSettings = map[string]string{
	"client_encoding":                     "UTF8",
	"datestyle":                           "ISO, YMD",
	"intervalstyle":                       "postgres",
	"timezone":                            "UTC",
	"extra_float_digits":                  "3",
	"bytea_output":                        "hex",
	"xmloption":                           "content",
	"lc_monetary":                         "C",
	"quote_all_identifiers":               "off",
	"search_path":                         "pg_catalog",
	"standard_conforming_strings":         "on",
	"lock_timeout":                        "0",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
}

const connectTimeout = 15 * time.Second

var dsnSSLMode = regexp.MustCompile(`(?i)(^|\s)sslmode\s*=`)

// parseURL reads a connection URL or key=value string as libpq does (with
// PGPASSWORD, ~/.pgpass and the other PG variables), except for one default:
// without an sslmode word, hosts other than loopback and Unix sockets are
// spoken to over TLS only, and local ones in plain text.
func parseURL(s connector.Secret, application string) (*pgconn.Config, error) {
	text := s.Reveal()
	if s.Torn() {
		return nil, errors.New("connection URL: there is an @ or # behind the host" + escapeIt)
	}
	cfg, err := pgconn.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("connection URL: %w", redact(err))
	}
	if !hasSSLMode(text) {
		mode := "require"
		if allLocal(cfg) {
			mode = "disable"
		}
		if cfg, err = pgconn.ParseConfig(withSSLMode(text, mode)); err != nil {
			return nil, fmt.Errorf("connection URL: %w", redact(err))
		}
	}
	for name, value := range sessionSettings {
		cfg.RuntimeParams[name] = value
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = application
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	guardPassword(cfg)
	return cfg, nil
}

// fileChanges is the error of a connection string that was read before. Each
// session reads it anew, with the password file and the certificates beside it;
// one of those is being replaced, so that the next session may find it.
func fileChanges(err error) error { return entrain.Retryable(err) }

func hasSSLMode(text string) bool {
	if os.Getenv("PGSSLMODE") != "" {
		return true
	}
	if u, err := url.Parse(text); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		return u.Query().Has("sslmode")
	}
	return dsnSSLMode.MatchString(text)
}

func withSSLMode(text, mode string) string {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return text + " sslmode=" + mode
	}
	q := u.Query()
	q.Set("sslmode", mode)
	u.RawQuery = q.Encode()
	return u.String()
}

func allLocal(cfg *pgconn.Config) bool {
	local := isLocal(cfg.Host)
	for _, f := range cfg.Fallbacks {
		local = local && isLocal(f.Host)
	}
	return local
}

func isLocal(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

const escapeIt = "; in a URL, write characters of a password such as % # / ? @ and spaces percent-encoded"

// redact is what the driver says about a connection string, without the string
// and from the first piece of it on that is quoted: a character of a password
// that has a meaning there can tear it anywhere.
func redact(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	text, _, cut := strings.Cut(strings.Replace(text, `missing "="`, "missing =", 1), `"`)
	if cut || strings.Contains(text, "as URL") {
		text = strings.TrimRight(text, "(: ") + escapeIt
	}
	return errors.New(text)
}

// noTimeoutsSQL lifts the time-outs that not every version has, so that they
// cannot be among the session's parameters.
const noTimeoutsSQL = `SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('transaction_timeout', 'idle_session_timeout')`

// direct makes a dialer's connections block in the kernel, for the two sessions
// that the changes go through.
func direct(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		taken, err := blockconn.Take(conn)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return taken, nil
	}
}

// connect opens a session; its error is classified and names the server. To a
// replication session its caller applies noTimeoutsSQL.
func connect(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, error) {
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = fmt.Errorf("connect to %s: %w", serverName(cfg), err)
		if stop := stopWeakAuth(cfg, err); stop != nil {
			return nil, stop
		}
		if !replicates(cfg) && sqlState(err) == stateNoPrivilege {
			return nil, stopNoConnectRight(cfg, err)
		}
		return nil, classify(err)
	}
	if err := keepBytes(ctx, conn); err != nil {
		closeConn(ctx, conn)
		return nil, fmt.Errorf("connect to %s: set the encoding: %w", serverName(cfg), classify(err))
	}
	if replicates(cfg) {
		return conn, nil
	}
	if _, err := queryRows(ctx, conn, noTimeoutsSQL); err != nil {
		closeConn(ctx, conn)
		return nil, fmt.Errorf("connect to %s: lift the time-outs: %w", serverName(cfg), err)
	}
	return conn, nil
}

func replicates(cfg *pgconn.Config) bool { return cfg.RuntimeParams["replication"] != "" }

// inSession runs do in a session of its own, whose end rolls back what do leaves
// open.
func inSession(ctx context.Context, cfg *pgconn.Config, do func(conn *pgconn.PgConn) error) error {
	conn, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	return do(conn)
}

// closeConn says good-bye even if ctx is over; the answer changes nothing.
func closeConn(ctx context.Context, conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// serverName is host:port/database, for messages.
func serverName(cfg *pgconn.Config) string {
	if strings.HasPrefix(cfg.Host, "/") {
		return fmt.Sprintf("%s/.s.PGSQL.%d/%s", cfg.Host, cfg.Port, cfg.Database)
	}
	return net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)) + "/" + cfg.Database
}

// queryRow runs one statement and returns its first row as text, nil if it has
// no row. A NULL is an empty string.
func queryRow(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([]string, error) {
	rows, err := queryRows(ctx, conn, sql, args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// queryRows runs one statement and returns all its rows as text.
func queryRows(ctx context.Context, conn *pgconn.PgConn, sql string, args ...string) ([][]string, error) {
	return textRows(conn.ExecParams(ctx, sql, textParams(args), nil, nil, nil))
}

func textParams(args []string) [][]byte {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	return params
}

func textRows(reader *pgconn.ResultReader) ([][]string, error) {
	res := reader.Read()
	if res.Err != nil {
		return nil, classify(res.Err)
	}
	rows := make([][]string, len(res.Rows))
	for i, values := range res.Rows {
		rows[i] = make([]string, len(values))
		for j, v := range values {
			rows[i][j] = string(v)
		}
	}
	return rows, nil
}
