package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/connector"
)

// What the connectors decode of the file in TestOtherForm.
type (
	otherSource struct {
		URL         connector.Secret `yaml:"url"`
		Slot        string           `yaml:"slot"`
		Publication string           `yaml:"publication"`
		Create      bool             `yaml:"create"`
		Tables      struct {
			Include []string `yaml:"include"`
		} `yaml:"tables"`
	}
	otherStream struct {
		URL        connector.Secret `yaml:"url"`
		Topic      string           `yaml:"topic"`
		Partitions int              `yaml:"partitions"`
		Retention  time.Duration    `yaml:"retention"`
		Registry   *struct {
			URL connector.Secret `yaml:"url"`
		} `yaml:"schema_registry"`
	}
	otherSink struct {
		URL connector.Secret `yaml:"url"`
	}
)

// otherForm and ownForm say the same.
const otherForm = `
name: shop
source:
  database: postgres
  url: postgres://a
  logical_replication: true
  slots:
    - name: sync_primary
      publication: sync_pub
      tables: [orders, sales.users]
stream:
  broker: kafka
  url: kafka://k:9092
  topic: db-changes
  partitions: 6
  retention_hours: 168
  schema_registry: true
  schema_registry_url: http://r
  format: json
consumer:
  group_id: sync-workers
  retry: {max_attempts: 5, backoff_base_ms: 1000, backoff_max_ms: 30000, jitter: true}
sink:
  url: postgres://b
  consistency: eventual
  dead_letter: {alert_threshold: 50}
monitoring:
  metrics: [sync_lag_seconds]
  alerts: {lag_critical: 30, duplicate_rate_warning: 0.02}
`

const ownForm = `
name: shop
source: {type: postgres, url: postgres://a, slot: sync_primary, publication: sync_pub, create: true, tables: {include: [public.orders, sales.users]}}
stream: {type: kafka, url: "kafka://k:9092", topic: db-changes, partitions: 6, retention: 168h, schema_registry: {url: http://r}}
consumer: {group_id: sync-workers}
retry: {max_attempts: 5, backoff_base_ms: 1000, backoff_max_ms: 30000, jitter: true}
sink: {type: postgres, url: postgres://b}
dead_letter: {alert_threshold: 50}
monitoring: {metrics: [sync_lag_seconds], alerts: {lag_critical: 30, duplicate_rate_warning: 0.02}}
`

// otherFile is everything that TestOtherForm compares.
type otherFile struct {
	Source     otherSource
	Stream     otherStream
	Sink       otherSink
	Types      [3]string
	Consumer   Consumer
	Retry      Retry
	DeadLetter DeadLetter
	Monitoring Monitoring
	Cursor     string
}

func readAll(t *testing.T, text string) (a otherFile) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for section, into := range map[*Section]any{f.Source: &a.Source, f.Stream: &a.Stream, f.Sinks[0]: &a.Sink} {
		if err := section.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	a.Types = [3]string{f.Source.Type, f.Stream.Type, f.Sinks[0].Type}
	a.Consumer, a.Retry, a.DeadLetter, a.Monitoring = f.Consumer, f.Retry, *f.DeadLetter, *f.Monitoring
	a.Cursor = f.Cursor(f.Sinks[0])
	return a
}

// TestOtherForm: a file of the form with slots, broker and consumer is the same
// pipeline as one in our own words.
func TestOtherForm(t *testing.T) {
	want, got := readAll(t, ownForm), readAll(t, otherForm)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the forms differ (-own +other):\n%s", diff)
	}
	if want.Source.Slot != "sync_primary" || want.Stream.Retention != 168*time.Hour || want.Cursor != "sync-workers" {
		t.Errorf("not read: %+v", want)
	}
}
