package postgres

import (
	"context"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
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

// unreadable returns the first name of a table that is no UTF-8, which a
// database without an encoding can have.
func unreadable(t *entrain.Table) (name string, found bool) {
	names := []string{t.Schema, t.Name}
	for _, c := range t.Columns {
		names = append(names, c.Name, c.Type)
	}
	for _, name := range names {
		if !utf8.ValidString(name) {
			return name, true
		}
	}
	return "", false
}
