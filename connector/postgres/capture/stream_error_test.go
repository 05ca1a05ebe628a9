package capture

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
)

// TestStreamErrors: what ends a stream is named, retryable or neither, however
// the server's messages are translated.
func TestStreamErrors(t *testing.T) {
	cases := []struct {
		err       error
		stop      string
		retryable bool
	}{
		{&pgconn.PgError{Code: "42704", Message: `publication "p" does not exist`}, "publication_missing", false},
		{&pgconn.PgError{Code: "42704", Message: `Publikation »p« existiert nicht`, Routine: "get_publication_oid"}, "publication_missing", false},
		{&pgconn.PgError{Code: "42704", Message: `type "x" does not exist`}, "", false},
		{&pgconn.PgError{Code: "55000", Message: "ausgelassen", Routine: "LoadPublications"}, "publication_missing", false},
		{&pgconn.PgError{Code: "55000", Message: "Slot unlesbar", Routine: "ReplicationSlotAcquire"}, "slot_lost", false},
		{&pgconn.PgError{Code: "55000", Message: "Slot unlesbar", Routine: "StartLogicalReplication"}, "slot_lost", false},
		{&pgconn.PgError{Code: "55000", Message: "Slot unlesbar", Detail: "ungültig", Routine: "CreateDecodingContext"}, "slot_lost", false},
		{&pgconn.PgError{Code: "55000", Detail: "synced", Hint: "another", Routine: "CreateDecodingContext"}, "", true},
		{&pgconn.PgError{Code: "55000", Routine: "CreateDecodingContext"}, "", false},
		{&pgconn.PgError{Code: "55000", Routine: "CheckLogicalDecodingRequirements"}, "", false},
		{&pgconn.PgError{Code: "55006", Message: `replication slot "s" is active for PID 7`}, "", true},
		{&pgconn.PgError{Code: "57P01"}, "", true},
		{&pgconn.PgError{Code: "58P01"}, "", true},
		{&pgconn.PgError{Code: "XX000"}, "", false},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), "", true},
		{errors.New("unknown message 'x'"), "", false},
	}
	for _, c := range cases {
		err := streamError(c.err, Config{Slot: "s", Publication: "p"})
		if c.stop != "" {
			expectStop(t, err, c.stop)
			continue
		}
		var stop *entrain.Stop
		if errors.As(err, &stop) || entrain.IsRetryable(err) != c.retryable || !errors.Is(err, c.err) {
			t.Errorf("%v became %v, retryable %t", c.err, err, entrain.IsRetryable(err))
		}
	}
}
