package nats

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// writeFile returns the path of a file of the test's.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// encrypted makes the server speak TLS and returns the file of who signed its
// certificate.
func encrypted(t *testing.T, o *server.Options) (ca string) {
	t.Helper()
	cert, key := pgtest.Certificate(t, time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return writeFile(t, cert)
}

func keyPair(t *testing.T, prefix nkeys.PrefixByte) (pair nkeys.KeyPair, public string) {
	t.Helper()
	pair, err := nkeys.CreatePair(prefix)
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// operated is a server whose users have credentials: it returns the file of one.
func operated(t *testing.T, o *server.Options) (credentials string) {
	t.Helper()
	operator, operatorID := keyPair(t, nkeys.PrefixByteOperator)
	account, accountID := keyPair(t, nkeys.PrefixByteAccount)
	user, userID := keyPair(t, nkeys.PrefixByteUser)
	claims := jwt.NewAccountClaims(accountID)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	accountText, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userText, err := jwt.NewUserClaims(userID).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountID, accountText); err != nil {
		t.Fatal(err)
	}
	trust := jwt.NewOperatorClaims(operatorID)
	_, system := keyPair(t, nkeys.PrefixByteAccount)
	systemText, err := jwt.NewAccountClaims(system).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := resolver.Store(system, systemText); err != nil {
		t.Fatal(err)
	}
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trust}, resolver, system
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(userText, seed)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(text))
}

// TestWaysIn: TLS with a password or with credentials; what is wrong is named as the
// file calls it, is no reason to try again, and shows no password.
func TestWaysIn(t *testing.T) {
	o := server.Options{Users: []*server.User{{Username: "entrain", Password: "s3cret"}}}
	ca := encrypted(t, &o)
	at := strings.TrimPrefix(startServer(t, o).url, "nats://")
	second := server.Options{}
	otherCA := encrypted(t, &second)
	credentials := operated(t, &second)
	operator := strings.TrimPrefix(startServer(t, second).url, "nats://")
	strangers := operated(t, &server.Options{})
	plain := strings.TrimPrefix(newElsewhere(t).url, "nats://")
	for _, c := range []struct {
		name string
		cfg  ServerConfig
		says string // empty: it is let in
	}{
		{"password", ServerConfig{URL: "tls://entrain:s3cret@" + at, CA: ca}, ""},
		{"credentials", ServerConfig{URL: "tls://" + operator, CA: otherCA, Credentials: credentials}, ""},
		{"wrong password", ServerConfig{URL: "tls://entrain:wr0ng@" + at, CA: ca}, "password in url"},
		{"nobody", ServerConfig{URL: "tls://" + at, CA: ca}, "password in url"},
		{"credentials of strangers", ServerConfig{URL: "tls://" + operator, CA: otherCA, Credentials: strangers}, "file credentials"},
		{"authorities of the system", ServerConfig{URL: "tls://entrain:s3cret@" + at}, "ca is to name"},
		{"wrong authority", ServerConfig{URL: "tls://entrain:s3cret@" + at, CA: otherCA}, "ca is to name"},
		{"wrong name", ServerConfig{URL: "tls://entrain:s3cret@" + strings.Replace(at, "127.0.0.1", "localhost", 1), CA: ca}, "another name"},
		{"no TLS there", ServerConfig{URL: "tls://" + plain, CA: ca}, "no TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newServerLog(t, c.cfg)
			_, err := l.Check(t.Context(), nil)
			if c.says == "" {
				made(t, l, err)
				return
			}
			var u *entrain.Unreachable
			if !errors.As(err, &u) || !strings.Contains(u.Why, c.says) || strings.Contains(u.Why+u.Next+err.Error(), "wr0ng") || strings.Contains(u.Next, "s3cret") {
				t.Fatalf("got %v: %+v", err, u)
			}
			if entrain.IsRetryable(err) {
				t.Errorf("it would be tried again: %v", err)
			}
		})
	}
	if refused(natsgo.ErrNoServers) != "" {
		t.Error("a server that is not there is taken for one that refuses")
	}
}
