package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// captureOne makes a slot through the URL and captures one change.
func captureOne(t *testing.T, url, admin string) {
	t.Helper()
	src := newTestSource(t, url)
	from := createSlot(t, src)
	pgtest.Exec(t, admin, "DELETE FROM t", "INSERT INTO t VALUES (1, 'captured')")
	if got := captureNow(t, src, from); len(got.lines) == 0 {
		t.Error("nothing was captured")
	}
	pgtest.Exec(t, admin, dropSlot(src.cfg.Slot))
}

// TestPasswords: SE-04 part. SCRAM with the password from the URL, PGPASSWORD
// or the password file; a wrong one is an error that does not show it (P8).
func TestPasswords(t *testing.T) {
	pgtest.ClearEnv(t)
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Start(t, major, map[string]string{"password_encryption": "scram-sha-256"})
		admin := srv.SocketURL("postgres")
		pgtest.Exec(t, admin, oneTable, "CREATE PUBLICATION pub FOR TABLE t",
			"CREATE ROLE capture LOGIN REPLICATION PASSWORD 's3cr3t:\\'''")
		hba := "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
		if err := os.WriteFile(filepath.Join(srv.Dir(), "data", "pg_hba.conf"), []byte(hba), 0o644); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, admin, "SELECT pg_reload_conf()")
		url := asUser(t, srv.URL("postgres"), "capture")
		pgtest.Eventually(t, sourcePatience, "passwords are asked for", func() bool {
			sess, err := newTestSource(t, url).connect(t.Context())
			if err == nil {
				sess.close(t.Context())
			}
			return err != nil
		})
		t.Run(versionName(major), func(t *testing.T) { passwordCases(t, srv, url) })
	}
}

func passwordCases(t *testing.T, srv *pgserver.Server, url string) {
	admin := srv.SocketURL("postgres")
	t.Run("URL", func(t *testing.T) {
		captureOne(t, strings.Replace(url, "capture@", "capture:s3cr3t%3A%5C%27@", 1), admin)
	})
	t.Run("PGPASSWORD", func(t *testing.T) {
		t.Setenv("PGPASSWORD", `s3cr3t:\'`)
		captureOne(t, url, admin)
	})
	t.Run("PGPASSFILE", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pgpass")
		line := fmt.Sprintf("127.0.0.1:%d:*:capture:s3cr3t\\:\\\\'\n", srv.Port())
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PGPASSFILE", file)
		captureOne(t, url, admin)
	})
	t.Run("wrong", func(t *testing.T) {
		err := openError(t, newTestSource(t, strings.Replace(url, "capture@", "capture:canary@", 1)), entrain.Position{})
		if strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "capture") {
			t.Errorf("error %v", err)
		}
	})
}

// TestUnixSocket: a session over the Unix socket, which is never encrypted.
func TestUnixSocket(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Shared(t, major)
		url := pgtest.CreateDatabase(t, srv)
		pgtest.Exec(t, url, oneTable)
		captureOne(t, srv.SocketURL(url[strings.LastIndex(url, "/")+1:]), url)
	}
}

// certificate makes a self-signed certificate for 127.0.0.1 and returns it and
// its key as PEM.
// writeAtServer has the server write a file into its data folder, which then
// belongs to the user that it runs as.
func writeAtServer(t *testing.T, url, name, text string) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf("COPY (SELECT unnest(string_to_array('%s', E'\\n'))) TO PROGRAM 'umask 077; cat > %s'",
		strings.TrimSuffix(text, "\n"), name))
}

// TestTLS: SE-04 part. verify-full takes the right host and refuses the wrong
// one and an unknown authority; require refuses a server without TLS; reads can
// be interrupted under TLS.
func TestTLS(t *testing.T) {
	pgtest.ClearEnv(t)
	cert, key := pgtest.Certificate(t, time.Now().Add(time.Hour))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(cert), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Start(t, major, nil)
		url := srv.URL("postgres")
		err := openError(t, newTestSource(t, url+"?sslmode=require"), entrain.Position{})
		if !strings.Contains(err.Error(), "TLS") {
			t.Errorf("require at a server without TLS: %v", err)
		}
		pgtest.Exec(t, url, oneTable)
		writeAtServer(t, url, "server.crt", cert)
		writeAtServer(t, url, "server.key", key)
		pgtest.Exec(t, url, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
		pgtest.Eventually(t, sourcePatience, "the server speaks TLS", func() bool {
			return pgtest.QueryOne(t, url, "SHOW ssl") == "on"
		})
		t.Run(versionName(major), func(t *testing.T) { tlsCases(t, url, ca) })
	}
}

func tlsCases(t *testing.T, url, ca string) {
	verify := url + "?sslmode=verify-full&sslrootcert=" + ca
	captureOne(t, verify, url)
	captureOne(t, url+"?sslmode=require", url)
	wrongHost := strings.Replace(verify, "127.0.0.1", "localhost", 1)
	for name, bad := range map[string]string{"wrong host": wrongHost, "unknown authority": url + "?sslmode=verify-full"} {
		if err := openError(t, newTestSource(t, bad), entrain.Position{}); !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	src := newTestSource(t, verify)
	r := openReader(t, src, createSlot(t, src))
	encrypted := "SELECT ssl FROM pg_stat_ssl JOIN pg_replication_slots ON pid = active_pid WHERE slot_name = '" + src.cfg.Slot + "'"
	if got := pgtest.QueryOne(t, url, encrypted); got != "t" {
		t.Errorf("the stream is encrypted: %s", got)
	}
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		if b, err := r.Read(ctx); !errors.Is(err, context.DeadlineExceeded) && (err != nil || len(b.Events) > 0) {
			t.Fatalf("interrupted read %d: %v", i, err)
		}
		cancel()
	}
	pgtest.Exec(t, url, "DELETE FROM t", "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10000) i")
	if got := captureLines(t, r, 10000); len(got.lines) < 10000 {
		t.Errorf("%d events after interrupted reads", len(got.lines))
	}
}
