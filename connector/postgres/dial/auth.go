package dial

import (
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// strongOnly refuses the requests for a password that give it, or something that
// can be used instead of it, to whoever asks. It is libpq's require_auth.
const strongOnly = "!password,!md5"

// guardPassword makes a connection over which somebody else could be asking
// answer by SCRAM only, unless the user has said which methods may be used
// (require_auth). Loopback and Unix sockets are not guarded.
func guardPassword(cfg *pgconn.Config) {
	if cfg.RequireAuth != "" || allLocal(cfg) {
		return
	}
	verified := isVerified(cfg.TLSConfig)
	for _, f := range cfg.Fallbacks {
		verified = verified && isVerified(f.TLSConfig)
	}
	if !verified {
		cfg.RequireAuth = strongOnly
	}
}

// isVerified reports whether TLS proves who the server is: verify-ca leaves the
// check to a function of the driver's.
func isVerified(c *tls.Config) bool {
	return c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil || c.VerifyConnection != nil)
}

// stopWeakAuth names a server that asks for the password in a refused way; nil
// if err is something else. The driver has no type for it.
func stopWeakAuth(cfg *pgconn.Config, err error) error {
	if !strings.Contains(err.Error(), "require_auth check failed") {
		return nil
	}
	return &entrain.Stop{
		Code: "weak_authentication",
		What: ServerName(cfg) + " asks for the password in a way that require_auth refuses (" + cfg.RequireAuth + ")",
		Why: "without a certificate that was checked, a clear or md5 password is as good as given away to whoever is in between; " +
			"SCRAM is not",
		Next: "at the server: SET password_encryption = 'scram-sha-256'; ALTER ROLE … PASSWORD …; and scram-sha-256 in pg_hba.conf. " +
			"Or add sslmode=verify-full to the URL. Or allow it: add require_auth=md5 or require_auth=password to the URL",
		Err: err,
	}
}

// StopNoConnectRight names a role that may not connect to the database.
func StopNoConnectRight(cfg *pgconn.Config, err error) error {
	return &entrain.Stop{
		Code: "no_connect_right",
		What: fmt.Sprintf("role %q may not connect to database %q", cfg.User, cfg.Database),
		Why:  "that needs the CONNECT privilege",
		Next: fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s; -- as the owner of the database",
			sqltext.Ident(cfg.Database), sqltext.Ident(cfg.User)),
		Err: err,
	}
}
