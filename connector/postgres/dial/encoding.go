package dial

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// keepBytes makes a database that has no encoding give and take bytes as they
// are. Asked for UTF-8 it would refuse whatever is not, and a stream would end
// there; so nothing is lost, and what is no text is seen as such by whoever
// writes it.
func keepBytes(ctx context.Context, conn *pgconn.PgConn) error {
	const noEncoding = "SQL_ASCII"
	if conn.ParameterStatus("server_encoding") != noEncoding {
		return nil
	}
	_, err := conn.Exec(ctx, "SET client_encoding = '"+noEncoding+"'").ReadAll()
	return err
}
