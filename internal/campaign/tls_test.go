package campaign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	cert, key := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	if err := os.WriteFile(a.file, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(cert))
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue signs a certificate, its own first one itself.
func (a *authority) issue(c *x509.Certificate) (cert string, key *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	c.SerialNumber, c.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key
}

// serve gives the server a new certificate for 127.0.0.1 that ends then.
func (a *authority) serve(srv *pgserver.Server, end time.Time) {
	a.t.Helper()
	cert, key := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test server"}, NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	admin := srv.SocketURL("postgres")
	for name, text := range map[string]string{
		"server.crt": cert, "server.key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
	} {
		pgtest.Exec(a.t, admin, fmt.Sprintf(`COPY (SELECT unnest(string_to_array('%s', E'\n'))) TO PROGRAM 'umask 077; cat > %s'`,
			strings.TrimSuffix(text, "\n"), name))
	}
	pgtest.Exec(a.t, admin, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
	pgtest.Eventually(a.t, patience, "the server speaks TLS", func() bool { return pgtest.QueryOne(a.t, admin, "SHOW ssl") == "on" })
}

// TestSE04TLS: SE-04 at both ends. A server that is not the one that is meant, or
// does not prove it, is refused before a password is sent; nothing is tried in
// plain text.
func TestSE04TLS(t *testing.T) {
	s, srv := shop(t, someMajor(t))
	a, stranger := newAuthority(t), newAuthority(t)
	refused := func(name, want, query string) {
		t.Helper()
		for end, file := range map[string]pipelineFile{
			"source": writePipeline(t, "shop", fromPostgres(s.source+query), intoPostgres(s.target)),
			"sink":   writePipeline(t, "shop", fromPostgres(s.source), intoPostgres(s.target+query)),
		} {
			p := launch(t, "run", file.path)
			p.exit(t, exitEnvironment)
			if !p.stderr.has(want) || p.stderr.has("streaming") {
				t.Errorf("%s at the %s: %q is not in %s", name, end, want, tail(p.stderr.String(), 800))
			}
		}
	}
	refused("a plain server, require", "TLS", "?sslmode=require")
	refused("a plain server, verify-full", "TLS", "?sslmode=verify-full&sslrootcert="+a.file)
	a.serve(srv, time.Now().Add(time.Hour))
	refused("unknown authority", "certificate", "?sslmode=verify-full")
	refused("another authority", "certificate", "?sslmode=verify-full&sslrootcert="+stranger.file)
	refused("another authority, verify-ca", "certificate", "?sslmode=verify-ca&sslrootcert="+stranger.file)
	s.source, s.target = strings.Replace(s.source, "127.0.0.1", "localhost", 1), strings.Replace(s.target, "127.0.0.1", "localhost", 1)
	refused("wrong host", "certificate", "?sslmode=verify-full&sslrootcert="+a.file)
	s.source, s.target = strings.Replace(s.source, "localhost", "127.0.0.1", 1), strings.Replace(s.target, "localhost", "127.0.0.1", 1)
	a.serve(srv, time.Now().Add(-time.Minute))
	pgtest.Eventually(t, patience, "the certificate is the expired one", func() bool {
		return strings.Contains(fmt.Sprint(command(t, s.source+"?sslmode=verify-full&sslrootcert="+a.file, "")), "expired")
	})
	refused("expired", "expired", "?sslmode=verify-full&sslrootcert="+a.file)
}

// TestSE04Rotation: SE-04, P1, P9. Certificates and passwords of both ends change
// while the pipeline runs: the one process takes up the new ones.
func TestSE04Rotation(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			l := newLeast(t, major)
			a := newAuthority(t)
			a.serve(l.srv, time.Now().Add(time.Hour))
			admin := l.srv.SocketURL("postgres")
			passfile := filepath.Join(t.TempDir(), "pgpass")
			change := func(password string) {
				for _, role := range []string{"entrain_capture", "entrain_apply"} {
					pgtest.Exec(t, admin, "ALTER ROLE "+role+" PASSWORD '"+password+"'")
				}
			}
			publish := func(password string) {
				if err := os.WriteFile(passfile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			change("first")
			publish("first")
			pgtest.Exec(t, admin, "COPY (SELECT unnest(ARRAY['local all all trust', 'hostssl all entrain_capture,entrain_apply all scram-sha-256', 'host all postgres all trust'])) "+
				"TO PROGRAM 'cat > pg_hba.conf'", "SELECT pg_reload_conf()")
			query := "?sslmode=verify-full&sslrootcert=" + a.file + "&passfile=" + passfile
			file := writePipeline(t, l.name, fromPostgres(l.source+query), intoPostgres(l.target+query))
			p := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			addOrders(t, l.adminSource, 1, 10)
			l.arrived(t, 10)

			a.serve(l.srv, time.Now().Add(time.Hour))
			if err := l.srv.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			addOrders(t, l.adminSource, 11, 20)
			l.arrived(t, 20)

			began := len(p.stderr.String())
			change("second")
			l.cut(t, admin, "SELECT 1")
			addOrders(t, l.adminSource, 21, 30)
			pgtest.Eventually(t, patience, "the former password is refused", func() bool {
				return strings.Contains(p.stderr.String()[began:], "28P01")
			})
			publish("second")
			l.arrived(t, 30)
			p.signal(t, syscall.SIGTERM)
			p.exit(t, exitOK)
			l.sameOrders(t)
			if p.stderr.has("first") || p.stderr.has("second\"") {
				t.Errorf("a password is in %s", &p.stderr)
			}
		})
	}
}
