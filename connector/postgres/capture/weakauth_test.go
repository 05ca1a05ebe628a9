package capture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/apply"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestWeakAuthentication: SE-04. A server that asks for a password that may not
// be given is a named stop at both ends, and gets nothing.
func TestWeakAuthentication(t *testing.T) {
	pgtest.ClearEnv(t)
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Start(t, major, nil)
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "SET password_encryption = 'md5'; CREATE ROLE weak LOGIN REPLICATION PASSWORD 'canary'")
		for _, method := range []string{"password", "md5"} {
			writeAtServer(t, srv.SocketURL("postgres"), "pg_hba.conf", "local all all trust\nhost all weak all "+method+"\nhost all all all trust")
			pgtest.Exec(t, srv.SocketURL("postgres"), "SELECT pg_reload_conf()")
			as := strings.Replace(url, "postgres@", "weak:canary@", 1)
			refused := as + "?require_auth=" + strings.ReplaceAll("!password,!md5", "!", "%21")
			pgtest.Eventually(t, sourcePatience, method+" is asked for", func() bool {
				sink, err := apply.NewSink(apply.Config{URL: connector.Secret(refused), Pipeline: "p"})
				if err != nil {
					t.Fatal(err)
				}
				w, err := sink.Open(t.Context())
				if err == nil {
					w.Close()
					return false // the server has not read the file yet
				}
				stop := expectStop(t, err, "weak_authentication")
				return !strings.Contains(stop.Error(), "canary")
			})
			expectStop(t, openError(t, newTestSource(t, refused), entrain.Position{}), "weak_authentication")
			captureAllowed(t, as+"?require_auth="+method)
		}
	}
}

// captureAllowed shows that the way out which the stop names is one.
func captureAllowed(t *testing.T, url string) {
	t.Helper()
	sink, err := apply.NewSink(apply.Config{URL: connector.Secret(url), Pipeline: "p"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := sink.Open(t.Context())
	if err != nil {
		t.Fatalf("with require_auth in the URL: %v", err)
	}
	w.Close()
}

// TestCertificateChanges: SE-04. A server whose certificate is replaced while a
// session is open goes on with the next session; an expired one, and a server
// that has lost its TLS, are refused.
func TestCertificateChanges(t *testing.T) {
	pgtest.ClearEnv(t)
	first, firstKey := pgtest.Certificate(t, time.Now().Add(time.Hour))
	second, secondKey := pgtest.Certificate(t, time.Now().Add(time.Hour))
	expired, expiredKey := pgtest.Certificate(t, time.Now().Add(-time.Minute))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(first+second+expired), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := pgtest.Start(t, pgtest.Majors(t)[0], nil)
	admin := srv.SocketURL("postgres")
	use := func(cert, key, ssl string) {
		t.Helper()
		writeAtServer(t, admin, "server.crt", cert)
		writeAtServer(t, admin, "server.key", key)
		pgtest.Exec(t, admin, "ALTER SYSTEM SET ssl = "+ssl, "SELECT pg_reload_conf()")
	}
	pgtest.Exec(t, admin, oneTable)
	use(first, firstKey, "on")
	pgtest.Eventually(t, sourcePatience, "the server speaks TLS", func() bool {
		return pgtest.QueryOne(t, admin, "SHOW ssl") == "on"
	})
	src := newTestSource(t, srv.URL("postgres")+"?sslmode=verify-full&sslrootcert="+ca)
	from := createSlot(t, src)
	r := openReader(t, src, from)
	pgtest.Exec(t, admin, "INSERT INTO t VALUES (1, 'x')")
	captureLines(t, r, 1)
	use(second, secondKey, "on")
	pgtest.Exec(t, admin, "INSERT INTO t VALUES (2, 'x')")
	captureLines(t, r, 1) // the open session goes on
	r.Close()
	r = openReader(t, src, from)
	if got := captureLines(t, r, 2); len(got.lines) < 2 {
		t.Errorf("%d events after the certificate was replaced", len(got.lines))
	}
	r.Close()
	for what, change := range map[string]func(){
		"expired": func() { use(expired, expiredKey, "on") },
		"TLS":     func() { use(second, secondKey, "off") },
	} {
		change()
		pgtest.Eventually(t, sourcePatience, "the server is refused: "+what, func() bool {
			reader, err := src.Open(t.Context(), from)
			if err == nil {
				reader.Close()
				return false
			}
			return strings.Contains(err.Error(), what)
		})
	}
}
