package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/blockconn"
)

// noTimeoutsSQL lifts the time-outs that not every version has, so that they
// cannot be among the session's parameters. The view pg_settings would know them,
// too, and make a row of each setting that there is.
const noTimeoutsSQL = `SELECT set_config(name, '0', false) FROM unnest('{transaction_timeout,idle_session_timeout}'::text[]) AS name
WHERE current_setting(name, true) IS NOT NULL`

// Direct makes a dialer's connections block in the kernel, for the two sessions
// that the changes go through.
func Direct(dial pgconn.DialFunc) pgconn.DialFunc {
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

// Connect opens a session; its error is classified and names the server. The
// time-outs of noTimeoutsSQL are lifted in ordinary sessions only.
func Connect(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, error) {
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = fmt.Errorf("connect to %s: %w", ServerName(cfg), err)
		if stop := stopWeakAuth(cfg, err); stop != nil {
			return nil, stop
		}
		if !replicates(cfg) && SQLState(err) == StateNoPrivilege {
			return nil, StopNoConnectRight(cfg, err)
		}
		if errors.Is(err, context.DeadlineExceeded) { // not ctx's but connect_timeout's
			err = fmt.Errorf("%w: %w", entrain.ErrDisconnected, err)
		}
		if err = Classify(err); entrain.IsRetryable(err) {
			err = unreachable(cfg, err)
		}
		return nil, err
	}
	if err := keepBytes(ctx, conn); err != nil {
		Close(ctx, conn)
		return nil, fmt.Errorf("connect to %s: set the encoding: %w", ServerName(cfg), Classify(err))
	}
	if replicates(cfg) {
		return conn, nil
	}
	if _, err := QueryRows(ctx, conn, noTimeoutsSQL); err != nil {
		Close(ctx, conn)
		return nil, fmt.Errorf("connect to %s: lift the time-outs: %w", ServerName(cfg), err)
	}
	return conn, nil
}

// ReadOnly opens a session that only looks: it writes nothing, waits for no lock
// for long and gives up on a statement when ctx does, for which it sets the
// time-outs of cfg.
func ReadOnly(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, error) {
	const lockTimeout = 2 * time.Second
	cfg.RuntimeParams["lock_timeout"] = milliseconds(lockTimeout)
	if deadline, ok := ctx.Deadline(); ok {
		cfg.RuntimeParams["statement_timeout"] = milliseconds(time.Until(deadline))
	}
	conn, err := Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	// Not among the settings that the session begins with: what the server has
	// configured is to be seen.
	if _, err := QueryRows(ctx, conn, "SET default_transaction_read_only = on"); err != nil {
		Close(ctx, conn)
		return nil, fmt.Errorf("examine %s: %w", ServerName(cfg), err)
	}
	return conn, nil
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}

func replicates(cfg *pgconn.Config) bool { return cfg.RuntimeParams["replication"] != "" }

// InSession runs do in a session of its own, whose end rolls back what do leaves
// open.
func InSession(ctx context.Context, cfg *pgconn.Config, do func(conn *pgconn.PgConn) error) error {
	conn, err := Connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer Close(ctx, conn)
	return do(conn)
}

// CloseTimeout bounds the farewell to a server.
const CloseTimeout = 2 * time.Second

// Close says good-bye even if ctx is over; the answer changes nothing.
func Close(ctx context.Context, conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// ServerName is host:port/database, for messages.
func ServerName(cfg *pgconn.Config) string {
	if strings.HasPrefix(cfg.Host, "/") {
		return fmt.Sprintf("%s/.s.PGSQL.%d/%s", cfg.Host, cfg.Port, cfg.Database)
	}
	return net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)) + "/" + cfg.Database
}

// Address is the connection string that reaches the server, without a role or a
// credential.
func Address(cfg *pgconn.Config) string {
	return fmt.Sprintf("host=%s port=%d dbname=%s", connWord(cfg.Host), cfg.Port, connWord(cfg.Database))
}

var plainWord = regexp.MustCompile(`^[\w./:%-]+$`)

// connWord quotes a word of a connection string where that is needed.
func connWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
