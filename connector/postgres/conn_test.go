package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
)

// clearPG takes the PG variables out of the test's environment.
func clearPG(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("PGPASSFILE", filepath.Join(t.TempDir(), "none"))
}

// TestURLNeedsTLS: without an sslmode word, hosts other than loopback and Unix
// sockets are spoken to over TLS only (P8).
func TestURLNeedsTLS(t *testing.T) {
	clearPG(t)
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
		cfg, err := parseURL(connector.Secret(c.url), "app")
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
	if cfg, err := parseURL("postgres://u@db.example/db", "app"); err != nil || cfg.TLSConfig != nil {
		t.Errorf("PGSSLMODE is ignored: %v", err)
	}
}

// TestURLSettings: every session reads values the same way, whatever the URL
// says; its own name and time-out stand.
func TestURLSettings(t *testing.T) {
	clearPG(t)
	cfg, err := parseURL("postgres://u@localhost/db?datestyle=German&application_name=mine&wal_sender_timeout=1s", "app")
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
	if cfg, err = parseURL("postgres://u@localhost/db?connect_timeout=3", "app"); err != nil || cfg.ConnectTimeout.Seconds() != 3 || cfg.RuntimeParams["application_name"] != "app" {
		t.Errorf("connect timeout %s, name %q, %v", cfg.ConnectTimeout, cfg.RuntimeParams["application_name"], err)
	}
}

// TestURLPasswords: the password comes from the URL, else PGPASSWORD, else the
// password file.
func TestURLPasswords(t *testing.T) {
	clearPG(t)
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("localhost:5432:db:u:of file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	password := func(url connector.Secret) string {
		cfg, err := parseURL(url, "app")
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

// TestURLErrorsKeepSecrets: P8. What cannot be read is refused without its
// password.
func TestURLErrorsKeepSecrets(t *testing.T) {
	clearPG(t)
	const canary = "hunter2canary"
	for _, bad := range []string{
		"postgres://u:" + canary + "@localhost:port/db",
		"postgres://u:" + canary + "@localhost/db?sslmode=maybe",
		"postgres://u:" + canary + "%zz@localhost/db",
		"postgres://u:" + canary + "@db.example:70000/db",
		"host=localhost password=" + canary + " port=x",
		"host=localhost password='" + canary + " port=1",
		"nonsense://u:" + canary + "@localhost/db",
		"postgres://u:%" + canary + "@localhost/db",
		"postgres://u:a " + canary + "@localhost/db",
		"postgres://u:1/" + canary + "@localhost/db",
		"postgres://u:1#" + canary + "@localhost/db",
		"postgres://u:`: " + canary + "@localhost/db",
		"host=localhost password= " + canary + " sslmode=maybe",
		`host=localhost password=a\ ` + canary + " sslmode=maybe",
		"host=localhost password=a " + canary,
		"host=localhost password=a " + canary + " port=1",
	} {
		_, err := NewSource(SourceConfig{URL: connector.Secret(bad)})
		if err == nil {
			t.Errorf("%s was accepted", bad)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("error shows the password: %v", err)
		}
	}
}

func TestSourceConfig(t *testing.T) {
	clearPG(t)
	good := SourceConfig{URL: "postgres://u@localhost/db"}
	src, err := NewSource(good)
	if err != nil || src.cfg.Slot != "entrain_default" || src.cfg.Publication != "entrain_default" || src.cfg.MaxEventBytes != defaultMaxEvent {
		t.Fatalf("defaults %+v, %v", src, err)
	}
	named := good
	named.Pipeline = "My-shop.v2"
	if src, err = NewSource(named); err != nil || !strings.HasPrefix(src.cfg.Slot, "entrain_my_shop_v2_") {
		t.Errorf("slot %v, %v", src, err)
	}
	slots := map[string]string{}
	for _, name := range []string{"a-b", "a_b", "a.b", "A_b", "a_B"} {
		slots[objectName(name)] = name
	}
	if len(slots) != 5 || slots["a_b"] != "a_b" {
		t.Errorf("pipelines share slots: %v", slots)
	}
	bad := map[string]SourceConfig{
		"source.url":             {},
		"source.slot":            {URL: good.URL, Slot: "Ünsafe'"},
		"source.max_event_bytes": {URL: good.URL, MaxEventBytes: 2 << 30},
		"source.tables":          {URL: good.URL, Tables: Tables{Include: []string{"orders"}}},
	}
	for want, cfg := range bad {
		if _, err := NewSource(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error about %s", err, want)
		}
	}
	for _, target := range []string{"now", "16/B374D848"} {
		if _, err := src.Until(target); err != nil || src.until != nil {
			t.Errorf("until %s: %v, the source's own is %v", target, err, src.until)
		}
	}
	for _, target := range []string{"tomorrow", "", "0"} {
		if _, err := src.Until(target); err == nil {
			t.Errorf("until %q was accepted", target)
		}
	}
}
