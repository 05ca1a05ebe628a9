package dial

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestPasswordsAreGuarded: SE-04. To another host a password goes by SCRAM, or to
// a server whose certificate was checked, unless the user says otherwise.
func TestPasswordsAreGuarded(t *testing.T) {
	pgtest.ClearEnv(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert, _ := pgtest.Certificate(t, time.Now().Add(time.Hour))
	if err := os.WriteFile(ca, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"postgres://u@db.example/x":                                                           strongOnly,
		"postgres://u@db.example/x?sslmode=disable":                                           strongOnly,
		"postgres://u@db.example/x?sslmode=prefer":                                            strongOnly,
		"postgres://u@db.example/x?sslmode=require":                                           strongOnly,
		"postgres://u@127.0.0.1,db.example/x?sslmode=disable":                                 strongOnly,
		"postgres://u@db.example/x?sslmode=verify-full":                                       "",
		"postgres://u@db.example/x?sslmode=verify-ca&sslrootcert=" + ca:                       "",
		"postgres://u@127.0.0.1/x":                                                            "",
		"host=/run/postgresql dbname=x":                                                       "",
		"postgres://u@db.example/x?sslmode=disable&require_auth=md5":                          "md5",
		"host=db.example user=u dbname=x sslmode=require require_auth=password,scram-sha-256": "password,scram-sha-256",
	} {
		cfg, err := ParseURL(connector.Secret(url), "test")
		if err != nil {
			t.Fatal(err)
		}
		if cfg.RequireAuth != want {
			t.Errorf("%s: require_auth %q, want %q", url, cfg.RequireAuth, want)
		}
	}
}
