package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// issued is a certificate that was signed, and its key.
type issued struct {
	file string // both, the certificate first, in PEM
	key  string // the key alone
	cert *x509.Certificate
	own  *ecdsa.PrivateKey
}

// issue makes a certificate for a name at 127.0.0.1; by is who signs it, nil for
// itself.
func issue(t *testing.T, name string, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: by == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	made := &issued{own: key}
	if by == nil {
		by = &issued{cert: template, own: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.own)
	if err != nil {
		t.Fatal(err)
	}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil { // the broker is another user
		t.Fatal(err)
	}
	made.file, made.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{made.file: public, made.key: text, made.both(): append(text, public...)} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// both is the file that Kafka calls a key store.
func (i *issued) both() string { return strings.TrimSuffix(i.key, "key.pem") + "both.pem" }

// guarded is a broker whose listeners ask who is there.
type guarded struct {
	plain, login, mutual string // addresses: of everybody who may do all, by password, by certificate
	authority, client    *issued
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{authority: issue(t, "authority", nil)}
	server := issue(t, "broker", g.authority)
	g.client = issue(t, "entrain", g.authority)
	port := throwaway.RandomPort()
	g.plain, g.login, g.mutual = fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+2), fmt.Sprintf("127.0.0.1:%d", port+3)
	advertised := "PLAINTEXT://" + g.plain + ",LOGIN://" + g.login + ",MUTUAL://" + g.mutual
	kafkatest.StartOwn(t, kafkaserver.Config{Port: port, Settings: map[string]string{
		"listeners":                      advertised + fmt.Sprintf(",CONTROLLER://127.0.0.1:%d", port+1),
		"advertised.listeners":           advertised,
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL",
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                    "User:ANONYMOUS",
		"ssl.keystore.type":              "PEM",
		"ssl.keystore.location":          server.both(),
		"ssl.truststore.type":            "PEM",
		"ssl.truststore.location":        g.authority.file,

		"listener.name.mutual.ssl.client.auth":               "required",
		"sasl.enabled.mechanisms":                            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.login.sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.login.plain.sasl.jaas.config":         `org.apache.kafka.common.security.plain.PlainLoginModule required user_simple="secret";`,
		"listener.name.login.scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.login.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
	}})
	admin(t, g.plain, func(ctx context.Context, adm *kadm.Client) error {
		done, err := adm.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{
			{User: "small", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "secret"},
			{User: "large", Mechanism: kadm.ScramSha512, Iterations: 4096, Password: "secret"},
		})
		for _, one := range done {
			err = errors.Join(err, one.Err)
		}
		return err
	})
	return g
}

// grantCommand is the form of the commands that give rights.
var grantCommand = regexp.MustCompile(`^kafka-acls\.sh --bootstrap-server \S+ --add --allow-principal '([^']+)'((?: --operation \w+)+) --([a-z-]+) '?([^']+)'?$`)

// obeyGrant does what a command of kafka-acls.sh says.
func (g *guarded) obeyGrant(t *testing.T, command string) {
	t.Helper()
	m := grantCommand.FindStringSubmatch(command)
	if m == nil {
		t.Fatalf("the command is %s", command)
	}
	rule := kadm.NewACLs().Allow(m[1]).AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral)
	switch m[3] {
	case "topic":
		rule.Topics(m[4])
	case "transactional-id":
		rule.TransactionalIDs(m[4])
	case "group":
		rule.Groups(m[4])
	default:
		t.Fatalf("the command is %s", command)
	}
	var operations []kadm.ACLOperation
	for name := range strings.SplitSeq(strings.TrimPrefix(m[2], " --operation "), " --operation ") {
		var op kadm.ACLOperation
		if err := op.UnmarshalText([]byte(name)); err != nil {
			t.Fatal(err)
		}
		operations = append(operations, op)
	}
	admin(t, g.plain, func(ctx context.Context, adm *kadm.Client) error {
		done, err := adm.CreateACLs(ctx, rule.Operations(operations...))
		for _, one := range done {
			err = errors.Join(err, one.Err)
		}
		return err
	})
}

// TestSecured is what a broker with TLS, logins and rights does and says.
func TestSecured(t *testing.T) {
	g := newGuarded(t)
	t.Run("ways in", func(t *testing.T) { waysIn(t, g) })
	t.Run("ways not in", func(t *testing.T) { waysNotIn(t, g) })
	t.Run("rights", func(t *testing.T) { rightsFound(t, g) })
}

// waysIn: each login, once it has the rights that check names, writes and reads.
func waysIn(t *testing.T, g *guarded) {
	trusted := &TLSConfig{CAFile: g.authority.file}
	for name, set := range map[string]func(*LogConfig){
		"PLAIN": func(c *LogConfig) { c.SASL = &SASLConfig{Mechanism: "PLAIN", User: "simple", Password: "secret"} },
		"SCRAM-SHA-256": func(c *LogConfig) {
			c.SASL = &SASLConfig{Mechanism: "SCRAM-SHA-256", User: "small", Password: "secret"}
		},
		"SCRAM-SHA-512": func(c *LogConfig) { c.SASL = &SASLConfig{User: "large", Password: "secret"} },
		"URL":           func(c *LogConfig) { c.Brokers, c.URL = nil, connector.Secret("kafka://large:secret@"+g.login) },
		"certificate": func(c *LogConfig) {
			c.Brokers, c.TLS = []string{g.mutual}, &TLSConfig{CAFile: g.authority.file, CertFile: g.client.file, KeyFile: g.client.key}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t, g.login, unique(), func(c *LogConfig) {
				c.TLS = trusted
				set(c)
			})
			g.grantAll(t, l)
			w, err := l.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, w, batchOf(1, row("1")))
			r, err := l.Read("", l.partition(0)).Open(t.Context(), entrain.Position{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for seen := 0; seen == 0; {
				b, err := r.Read(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				seen = len(b.Events)
				b.Free()
			}
		})
	}
}

// grantAll types what check advises about rights, until it has nothing to say.
func (g *guarded) grantAll(t *testing.T, checker entrain.Checker) {
	t.Helper()
	pgtest.Eventually(t, time.Minute, "check has nothing to say", func() bool {
		report, err := checker.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		bad := 0
		for _, f := range report.Findings {
			if f.Status == entrain.FindingOK {
				continue
			}
			bad++
			for _, fix := range f.Fix {
				g.obeyGrant(t, fix.Shell)
			}
		}
		return bad == 0
	})
}

// waysNotIn: what is wrong is named as the file calls it, without the password.
func waysNotIn(t *testing.T, g *guarded) {
	other := issue(t, "somebody", nil)
	login := &SASLConfig{User: "large", Password: "secret"}
	for _, c := range []struct {
		name, address string
		tls           *TLSConfig
		sasl          *SASLConfig
		code, says    string // without a code it is an Unreachable
	}{
		{"wrong password", g.login, &TLSConfig{CAFile: g.authority.file}, &SASLConfig{User: "large", Password: "wr0ng"}, "kafka_login", "sasl"},
		{"wrong password, plain", g.login, &TLSConfig{CAFile: g.authority.file}, &SASLConfig{Mechanism: "PLAIN", User: "simple", Password: "wr0ng"}, "kafka_login", "sasl"},
		{"wrong mechanism", g.login, &TLSConfig{CAFile: g.authority.file}, &SASLConfig{Mechanism: "SCRAM-SHA-256", User: "large", Password: "secret"}, "kafka_login", "sasl"},
		{"wrong authority", g.login, &TLSConfig{CAFile: other.file}, login, "kafka_tls", "tls.ca_file"},
		{"authorities of the system", g.login, &TLSConfig{}, login, "kafka_tls", "tls.ca_file"},
		{"wrong name", g.login, &TLSConfig{CAFile: g.authority.file, ServerName: "example.org"}, login, "kafka_tls", "tls.server_name"},
		{"no TLS there", g.plain, &TLSConfig{CAFile: g.authority.file}, nil, "", "(tls)"},
		{"no TLS here", g.login, nil, nil, "kafka_tls", "set tls"},
		{"no certificate", g.mutual, &TLSConfig{CAFile: g.authority.file}, nil, "kafka_tls", "tls.cert_file"},
		{"strange certificate", g.mutual, &TLSConfig{CAFile: g.authority.file, CertFile: other.file, KeyFile: other.key}, nil, "kafka_tls", "tls.cert_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := newTestSink(t, c.address, unique(), func(cfg *SinkConfig) { cfg.TLS, cfg.SASL = c.tls, c.sasl })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := sink.Check(ctx, nil)
			if err == nil || strings.Contains(err.Error(), "wr0ng") {
				t.Fatalf("check says %v", err)
			}
			if c.code == "" {
				var u *entrain.Unreachable
				if !errors.As(err, &u) || !strings.Contains(u.Why, c.says) {
					t.Fatalf("check says %v", err)
				}
				return
			}
			for _, err := range []error{err, openError(t, sink)} {
				if stop := wantStop(t, err, c.code); !strings.Contains(stop.Next, c.says) {
					t.Errorf("%s is not named: %v", c.says, stop.Next)
				}
			}
		})
	}
}

func openError(t *testing.T, s *Sink) error {
	t.Helper()
	w, err := s.Open(t.Context())
	if err == nil {
		w.Close()
	}
	return err
}

// rightsFound: every right that is missing has its finding and its command.
func rightsFound(t *testing.T, g *guarded) {
	id := unique()
	l := newTestLog(t, g.login, id, func(c *LogConfig) {
		c.TLS, c.SASL = &TLSConfig{CAFile: g.authority.file}, &SASLConfig{User: "small", Mechanism: "SCRAM-SHA-256", Password: "secret"}
	})
	l.Cursors([]string{id + ".warehouse"})
	report, err := l.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	lacking := map[string]bool{}
	for _, f := range report.Findings {
		if f.Code == codeRights && f.Status == entrain.FindingError {
			lacking[f.Object] = true
		}
	}
	for _, object := range []string{
		"topic " + id + ".changes", "topic " + id + ".changes.shapes", "topic " + id + ".state",
		"transactional-id " + id, "transactional-id " + id + ".values", "group " + id + ".warehouse",
	} {
		if !lacking[object] {
			t.Errorf("nothing is said of %s: %v", object, lacking)
		}
	}
	g.grantAll(t, l)
	if err := opening(t, l); err != nil {
		t.Errorf("with all rights: %v", err)
	}
	// A topic that others made, without the right to write there.
	name := unique()
	makeTopic(t, g.plain, name+".changes", map[string]string{"cleanup.policy": "delete"})
	g.obeyGrant(t, "kafka-acls.sh --bootstrap-server x --add --allow-principal 'User:small' --operation Read --operation Describe --topic "+name+".changes")
	l = newTestLog(t, g.login, name, func(c *LogConfig) {
		c.TLS, c.SASL = &TLSConfig{CAFile: g.authority.file}, &SASLConfig{User: "small", Mechanism: "SCRAM-SHA-256", Password: "secret"}
	})
	pgtest.Eventually(t, time.Minute, "the right to write is missed alone", func() bool {
		report, err := l.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Findings {
			if f.Code == codeRights && f.Object == "topic "+name+".changes" && strings.Contains(f.Why, ": Write is missing") {
				return true
			}
		}
		return false
	})
	g.grantAll(t, l)
}
