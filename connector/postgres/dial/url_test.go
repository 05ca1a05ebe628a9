package dial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// TestURLsAsLibpqSplitsThem: what our own default adds changes nothing else,
// whatever is in the password and however many servers there are.
func TestURLsAsLibpqSplitsThem(t *testing.T) {
	pgtest.ClearEnv(t)
	for url, want := range map[string]string{
		"postgres://u:a^b@example.com/db":                                     "u|a^b|example.com:5432|db",
		"postgres://u:a|b@example.com/db?connect_timeout=3":                   "u|a|b|example.com:5432|db",
		"postgres://u:a{b}@example.com/db?sslmode=verify-full":                "u|a{b}|example.com:5432|db",
		"postgres://u:1?x=c4n4ry@example.com/db":                              "u|1?x=c4n4ry|example.com:5432|db",
		"postgres://u:1?sslmode=disable@example.com":                          "u|1?sslmode=disable|example.com:5432|",
		"postgres://u:1#c4n4ry@example.com:7/db?":                             "u|1#c4n4ry|example.com:7|db",
		"postgres://u:a b@example.com/db":                                     "",
		"postgres://u:p@[2001:db8::1]:1,[2001:db8::2]:2/db?connect_timeout=3": "u|p|2001:db8::1:1,2001:db8::2:2|db",
		"postgres://u:p@[2001:db8::1],example.com:2?connect_timeout=3&":       "u|p|2001:db8::1:5432,example.com:2|",
		"postgresql://u:%61+b@example.com/d%62?application_name=a+b":          "u|a+b|example.com:5432|db",
	} {
		cfg, err := ParseURL(connector.Secret(url), "app")
		if err != nil {
			if want != "" {
				t.Errorf("%s: %v", url, err)
			}
			continue
		}
		at := []string{fmt.Sprint(cfg.Host, ":", cfg.Port)}
		for _, f := range cfg.Fallbacks {
			at = append(at, fmt.Sprint(f.Host, ":", f.Port))
		}
		if got := strings.Join([]string{cfg.User, cfg.Password, strings.Join(at, ","), cfg.Database}, "|"); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
		if cfg.TLSConfig == nil || !cfg.TLSConfig.InsecureSkipVerify != strings.Contains(url, "verify-full") {
			t.Errorf("%s: TLS %+v", url, cfg.TLSConfig)
		}
		if _, has := cfg.RuntimeParams["x"]; has {
			t.Errorf("%s: a piece of the password is a parameter", url)
		}
	}
	if cfg, err := ParseURL(connector.Secret("postgres://u@example.com/db?ssl%6dode=disable"), "app"); err != nil || cfg.TLSConfig != nil {
		t.Errorf("an escaped sslmode is not seen: %v", err)
	}
	if cfg, err := ParseURL(connector.Secret("postgres://u@localhost/db?ssl=true"), "app"); err != nil || cfg.TLSConfig == nil {
		t.Errorf("ssl=true is overruled: %v", err)
	}
}

// TestURLErrors: P8. What the driver says about a connection string is told
// without a piece of it.
func TestURLErrors(t *testing.T) {
	pgtest.ClearEnv(t)
	for url, want := range map[string]string{
		"postgres://u:1/c4n4ry@h/x":                         "@ or #",
		"postgres://u:1?/c4n4ry@h/x":                        "@ or #",
		"postgres://u:1@c4n4ry@h/x":                         "@ or #",
		"postgres://u:1/x?y=c4n4ry@h/db":                    "@ or #",
		"postgres://h/x?y@c4n4ry=1":                         "@ or #",
		"postgres://h/x#c4n4ry":                             "@ or #",
		"postgres://u:c4n4ry/x":                             "invalid port",
		"host=h target_session_attrs=c4n4ry":                "unknown target_session_attrs",
		"postgres://h/x?channel_binding=c4n4ry":             "unknown channel_binding",
		"host=h sslcertmode=c4n4ry":                         "sslcertmode",
		"host=h password=a c4n4ry port=1":                   "connection URL: ",
		"postgres://h/x?sslmode=c4n4ry":                     "sslmode is invalid",
		"postgres://h/x?connect_timeout=c4n4ry":             "invalid connect_timeout",
		"postgres://h/x?min_protocol_version=c4n4ry":        "min_protocol_version",
		"postgres://u@h/x?application_name=a@b&user=me@org": "",
	} {
		_, err := ParseURL(connector.Secret(url), "app")
		if said := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(said, want) || strings.Contains(said, "c4n4ry") {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}
