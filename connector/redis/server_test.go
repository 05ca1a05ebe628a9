package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// own is a server with settings of its own.
func own(t testing.TB, settings map[string]string) Server {
	t.Helper()
	return Server{URL: "redis://" + redistest.StartOwn(t, redisserver.Config{Settings: settings}).Addr()}
}

// TestUnsuitable: a server that may lose what it acknowledged is a stop and a
// finding, whose advice mends it; with durability: relaxed it is a warning.
func TestUnsuitable(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]string
		code     string
	}{
		"no log":   {map[string]string{"appendonly": "no"}, "redis_durability"},
		"everysec": {map[string]string{"appendfsync": "everysec"}, "redis_durability"},
		"lru":      {map[string]string{"maxmemory-policy": "allkeys-lru"}, "redis_eviction"},
	} {
		t.Run(name, func(t *testing.T) {
			place := own(t, c.settings)
			l, s := newLog(t, place), newSink(t, SinkConfig{Server: place})
			loose := place
			loose.Durability = "relaxed"
			wantFinding(t, l, c.code, entrain.FindingError)
			wantFinding(t, newLog(t, loose), c.code, entrain.FindingWarning)
			opened(t, newLog(t, loose))
			_, err := s.Open(t.Context())
			wantStop(t, err, c.code)
			_, err = l.Open(t.Context())
			// A server without a file to rewrite its settings to says so; a person has one.
			runAdvice(t, place, strings.ReplaceAll(wantStop(t, err, c.code).Next, keepSetting, "PING"))
			opened(t, l)
			openSink(t, s)
			wantFinding(t, l, c.code, entrain.FindingOK)
		})
	}
}

// wantFinding fails unless a check has the status for the code, and well-formed
// findings.
func wantFinding(t *testing.T, c entrain.Checker, code string, want entrain.FindingStatus) {
	t.Helper()
	report, err := c.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if !slices.Contains(c.Codes(), f.Code) || f.Doc != "redis.md#"+f.Code || f.Object == "" || !strings.Contains(string(text), "### "+f.Code+"\n") {
			t.Errorf("the finding %+v has no code, object or page", f)
		}
		if f.Code == code && f.Status != want {
			t.Errorf("%s is %v, want %v: %s", code, f.Status, want, f.Why)
		}
	}
}

// TestRelaxed: what does not hold then is said.
func TestRelaxed(t *testing.T) {
	place := Server{URL: "redis://localhost", Durability: "relaxed"}
	for _, g := range []entrain.Guarantor{newLog(t, place), newSink(t, SinkConfig{Server: place})} {
		if !strings.Contains(g.Guarantees().Why, "durability: relaxed") {
			t.Errorf("%T says %v", g, g.Guarantees())
		}
	}
	place.Durability = ""
	if g := newLog(t, place).Guarantees(); g.Why != "" || !g.Once || !g.Whole {
		t.Errorf("a durable log says %v", g)
	}
}

// TestMemoryFinding: a stream that is to be larger than the server's memory.
func TestMemoryFinding(t *testing.T) {
	place := own(t, map[string]string{"maxmemory": "100mb"})
	l, err := NewLog(Config{Server: place, Producer: "shop", MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	wantFinding(t, l, "redis_memory", entrain.FindingWarning)
}

// TestCluster: a node of a cluster is refused.
func TestCluster(t *testing.T) {
	place := own(t, map[string]string{"cluster-enabled": "yes"})
	_, err := newLog(t, place).Open(t.Context())
	wantStop(t, err, "redis_cluster")
	wantFinding(t, newLog(t, place), "redis_server", entrain.FindingError)
}

// TestReplica: a replica is not written to, and may become the master.
func TestReplica(t *testing.T) {
	master := redistest.Start(t)
	place := own(t, map[string]string{"replicaof": strings.Replace(master.Addr(), ":", " ", 1)})
	_, err := newLog(t, place).Open(t.Context())
	var u *entrain.Unreachable
	if !errors.As(err, &u) || !entrain.IsRetryable(err) {
		t.Errorf("a replica is %v", err)
	}
}

// TestRights: a user with the rights that the stops ask for can do everything, one
// with fewer gets a stop that says them.
func TestRights(t *testing.T) {
	place := at(t)
	c, user := admin(t, place), place.Prefix
	err := c.Do(t.Context(), "ACL", "SETUSER", user, "on", ">secret", "resetchannels", "-@all", "+ping", "+info", "+config|get", "+client|setname").Err()
	if err != nil {
		t.Fatal(err)
	}
	theirs := place
	theirs.URL = strings.Replace(place.URL, "redis://", "redis://"+user+":secret@", 1)
	l, s := newLog(t, theirs), newSink(t, SinkConfig{Server: theirs})
	_, err = l.Open(t.Context())
	stop := wantStop(t, err, "redis_denied")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is shown: %v", err)
	}
	runAdvice(t, place, stop.Next)
	l.Cursors([]string{"c"})
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 20)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	at := readTo(t, r, 20)
	if err := errors.Join(r.Ack(t.Context(), at), r.Close()); err != nil {
		t.Fatal(err)
	}
	if p, err := l.Partitions(t.Context()); err != nil || len(p) != 1 {
		t.Errorf("the partitions are %v, %v", p, err)
	}
	sink, _ := openSink(t, s)
	runAdvice(t, place, wantStop(t, writeTx(t.Context(), sink, 1), "redis_denied").Next)
	sink, _ = openSink(t, s)
	for n := 1; n <= 5; n++ {
		if err := writeTx(t.Context(), sink, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Do(t.Context(), "ACL", "SETUSER", user, "-config|get").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = l.Open(t.Context())
	stop = wantStop(t, err, "redis_durability")
	if !strings.Contains(stop.What, "CONFIG GET is not allowed") {
		t.Errorf("the stop does not say that CONFIG is not allowed: %v", stop)
	}
	runAdvice(t, place, stop.Next)
	opened(t, l)
}

// TestPassword: a wrong one is said, without it, and is not tried again.
func TestPassword(t *testing.T) {
	place := own(t, nil)
	if err := admin(t, place).ConfigSet(t.Context(), "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	for url, ok := range map[string]bool{"redis://:wrong@": false, "redis://": false, "redis://:secret@": true} {
		theirs := place
		theirs.URL = strings.Replace(place.URL, "redis://", url, 1)
		w, err := newLog(t, theirs).Open(t.Context())
		if ok {
			if err != nil {
				t.Errorf("%s: %v", url, err)
				continue
			}
			w.Close()
			continue
		}
		var u *entrain.Unreachable
		if !errors.As(err, &u) || entrain.IsRetryable(err) || strings.Contains(err.Error()+u.Next, "wrong@") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestNobody: a server that is not there may come.
func TestNobody(t *testing.T) {
	_, err := newLog(t, Server{URL: "redis://:secret@127.0.0.1:1"}).Open(t.Context())
	var u *entrain.Unreachable
	if !errors.As(err, &u) || !entrain.IsRetryable(err) || !errors.Is(err, entrain.ErrDisconnected) || strings.Contains(err.Error()+u.Next, "secret") {
		t.Errorf("nobody is %v", err)
	}
}

// TestConfig: what cannot be is said without the password.
func TestConfig(t *testing.T) {
	for _, c := range []Server{
		{}, {URL: "http://:secret@x"}, {URL: "redis://:secret@x", Durability: "none"}, {URL: "redis://:secret@x", Prefix: "a b"},
		{URL: "redis://:secret@x", CA: "/none"}, {URL: "rediss://:secret@x", CA: "/none"}, {URL: "rediss://:secret@x", Cert: "/none"},
		{URL: "redis://:sec%ret@x"},
	} {
		if _, err := NewLog(Config{Server: c, Producer: "shop"}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	place := Server{URL: "redis://x"}
	for _, c := range []SinkConfig{
		{Server: place}, {Server: place, Pipeline: "p", Format: "debezium"}, {Server: place, Pipeline: "p", MaxLen: -1},
		{Server: place, Pipeline: "p", MessageStream: "{table}"},
	} {
		if s, err := NewSink(c); err == nil {
			t.Errorf("%+v is %v", c, s)
		}
	}
}

// TestTLS: a server whose certificate was signed by the given authority.
func TestTLS(t *testing.T) {
	place := at(t)
	ca, address := proxy(t, strings.TrimPrefix(place.URL, "redis://"))
	place.URL = "rediss://" + address
	place.CA = ca
	w, _ := opened(t, newLog(t, place))
	writeTxs(t, w, 1, 3)
}

// TestWaysIn: TLS with a user of the server's access list; what is wrong is named as
// the file calls it, is no reason to try again, and shows no password.
func TestWaysIn(t *testing.T) {
	place := own(t, nil)
	if err := admin(t, place).Do(t.Context(), "ACL", "SETUSER", "keeper", "on", ">s3cret", "allcommands", "allkeys", "allchannels").Err(); err != nil {
		t.Fatal(err)
	}
	plain := strings.TrimPrefix(place.URL, "redis://")
	ca, address := proxy(t, plain)
	other, _ := proxy(t, plain)
	for _, c := range []struct {
		name, url, ca string
		says          string // empty: it is let in
	}{
		{"user", "rediss://keeper:s3cret@" + address, ca, ""},
		{"wrong password", "rediss://keeper:wr0ng@" + address, ca, "url"},
		{"unknown user", "rediss://nobody:s3cret@" + address, ca, "url"},
		{"authorities of the system", "rediss://keeper:s3cret@" + address, "", "ca is to name"},
		{"wrong authority", "rediss://keeper:s3cret@" + address, other, "ca is to name"},
		{"wrong name", "rediss://keeper:s3cret@localhost:" + address[strings.LastIndex(address, ":")+1:], ca, "url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			theirs := place
			theirs.URL, theirs.CA = c.url, c.ca
			l := newLog(t, theirs)
			_, err := l.Check(t.Context(), nil)
			if c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				w, _ := opened(t, l)
				writeTxs(t, w, 1, 3)
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
}

// proxy takes TLS connections for a server, and returns the file of who signed its
// certificate, and its address.
func proxy(t *testing.T, to string) (ca, address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		l.Close()
	})
	go serve(ctx, l, to)
	return ca, l.Addr().String()
}

func serve(ctx context.Context, l net.Listener, to string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
		if err != nil {
			from.Close()
			continue
		}
		context.AfterFunc(ctx, func() {
			from.Close()
			server.Close()
		})
		go pipe(server, from)
		go pipe(from, server)
	}
}

// pipe copies until one of the two is closed, and closes both.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}
