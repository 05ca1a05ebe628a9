package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
)

// retryableClasses are SQLSTATE classes and codes that a new session may not
// meet again.
var retryableClasses = []string{
	"08",    // connection exception
	"40",    // transaction rollback: serialization failure, deadlock
	"53",    // insufficient resources: too many connections, disk full
	"57",    // operator intervention: shutdown, cannot connect now, cancel
	"58",    // system error
	"25006", // read-only transaction: a fail-over is under way
	"55006", // object in use: the slot's former walsender is still there
	"55P03", // lock not available
	"28",    // authorization: a credential that is being rotated
	"3D000", // database does not exist: a fail-over is under way
}

// Classify marks err by whether a new session may fare better. ctx errors stay
// as they are.
func Classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		return err
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		for _, class := range retryableClasses {
			if strings.HasPrefix(pgErr.Code, class) {
				return entrain.Retryable(err)
			}
		}
		if isClosed(pgErr) {
			return entrain.Retryable(err)
		}
		return err
	}
	var netErr net.Error
	var connErr *pgconn.ConnectError
	if errors.As(err, &connErr) || errors.As(err, &netErr) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) {
		return fmt.Errorf("%w: %w", entrain.ErrDisconnected, err)
	}
	return err
}

// isClosed recognises a database that takes no connections for now (ALTER DATABASE …
// ALLOW_CONNECTIONS false), as while it is restored or moved. Most of what the server
// says with the same SQLSTATE stays as it is until somebody mends it.
func isClosed(e *pgconn.PgError) bool { return e.Code == "55000" && e.Routine == "CheckMyDatabase" }

// SQLState returns the SQLSTATE in err's chain, or "".
func SQLState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// StateNoPrivilege is the SQLSTATE of a right that the role lacks.
const StateNoPrivilege = "42501"
