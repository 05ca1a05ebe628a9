package dial

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestURLNeedsTLS: without an sslmode word, hosts other than loopback and Unix
// sockets are spoken to over TLS only (P8).
func TestURLNeedsTLS(t *testing.T) {
	pgtest.ClearEnv(t)
	cases := []struct {
		url   string
		plain bool
		tls   bool
	}{
		{"postgres://u@127.0.0.1:5432/db", true, false},
		{"postgres://u@localhost/db", true, false},
		{"postgres://u@[::1]:5432/db", true, false},
		{"postgres://u@/db?host=/run/pg", true, false},
		{"host=/run/pg user=u dbname=db", true, false},
		{"host=localhost user=u", true, false},
		{"postgres://u@db.example/db", false, true},
		{"postgres://u@10.0.0.1/db?connect_timeout=3", false, true},
		{"postgresql://u@127.0.0.1.example/db", false, true},
		{"host=db.example user=u application_name='sslmode'", false, true},
		{"postgres://u@db.example/db?sslmode=disable", true, false},
		{"postgres://u@db.example/db?sslmode=prefer", true, true},
		{"host=db.example user=u sslmode=disable", true, false},
		{"postgres://u@127.0.0.1/db?sslmode=require", false, true},
		{"postgres://u@localhost,db.example/db", false, true},
		{"postgres://u@localhost:1,127.0.0.1:2/db", true, false},
		{"postgres://u@db1.example:1,db2.example:2/db?sslmode=disable", true, false},
	}
	for _, c := range cases {
		cfg, err := ParseURL(connector.Secret(c.url), "app")
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		plain, secure := cfg.TLSConfig == nil, cfg.TLSConfig != nil
		for _, f := range cfg.Fallbacks {
			plain, secure = plain || f.TLSConfig == nil, secure || f.TLSConfig != nil
		}
		if plain != c.plain || secure != c.tls {
			t.Errorf("%s: plain text %t, TLS %t", c.url, plain, secure)
		}
	}
	t.Setenv("PGSSLMODE", "disable")
	if cfg, err := ParseURL(connector.Secret("postgres://u@db.example/db"), "app"); err != nil || cfg.TLSConfig != nil {
		t.Errorf("PGSSLMODE is ignored: %v", err)
	}
}

// TestURLSettings: every session reads values the same way, whatever the URL
// says; its own name and time-out stand.
func TestURLSettings(t *testing.T) {
	pgtest.ClearEnv(t)
	cfg, err := ParseURL(connector.Secret("postgres://u@localhost/db?datestyle=German&application_name=mine&wal_sender_timeout=1s"), "app")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"datestyle": "ISO, YMD", "application_name": "mine", "wal_sender_timeout": "1s", "timezone": "UTC"}
	for name, value := range want {
		if got := cfg.RuntimeParams[name]; got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if cfg.ConnectTimeout != connectTimeout {
		t.Errorf("connect timeout %s", cfg.ConnectTimeout)
	}
	if cfg, err = ParseURL(connector.Secret("postgres://u@localhost/db?connect_timeout=3"), "app"); err != nil || cfg.ConnectTimeout.Seconds() != 3 || cfg.RuntimeParams["application_name"] != "app" {
		t.Errorf("connect timeout %s, name %q, %v", cfg.ConnectTimeout, cfg.RuntimeParams["application_name"], err)
	}
}

// TestURLPasswords: the password comes from the URL, else PGPASSWORD, else the
// password file.
func TestURLPasswords(t *testing.T) {
	pgtest.ClearEnv(t)
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("localhost:5432:db:u:of file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	password := func(url connector.Secret) string {
		cfg, err := ParseURL(url, "app")
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Password
	}
	t.Setenv("PGPASSFILE", file)
	if got := password("postgres://u@localhost/db"); got != "of file" {
		t.Errorf("password %q, want that of the file", got)
	}
	t.Setenv("PGPASSWORD", "of environment")
	if got := password("postgres://u@localhost/db"); got != "of environment" {
		t.Errorf("password %q, want that of the environment", got)
	}
	if got := password("postgres://u:of%20url@localhost/db"); got != "of url" {
		t.Errorf("password %q, want that of the URL", got)
	}
}
