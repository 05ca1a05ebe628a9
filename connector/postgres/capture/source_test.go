package capture

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestURLErrorsKeepSecrets: P8. What cannot be read is refused without its
// password.
func TestURLErrorsKeepSecrets(t *testing.T) {
	pgtest.ClearEnv(t)
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
		"postgres://u@localhost/db#" + canary, // behind the @ of the credentials; in front of it libpq takes it
		"postgres://u:`: " + canary + "@localhost/db",
		"host=localhost password= " + canary + " sslmode=maybe",
		`host=localhost password=a\ ` + canary + " sslmode=maybe",
		"host=localhost password=a " + canary,
		"host=localhost password=a " + canary + " port=1",
	} {
		_, err := NewSource(Config{URL: connector.Secret(bad)})
		if err == nil {
			t.Errorf("%s was accepted", bad)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("error shows the password: %v", err)
		}
	}
}

func TestSourceConfig(t *testing.T) {
	pgtest.ClearEnv(t)
	good := Config{URL: "postgres://u@localhost/db"}
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
	bad := map[string]Config{
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
