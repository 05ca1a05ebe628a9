package file

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// debeziumSink writes with transaction metadata.
func debeziumSink(t *testing.T, path string) entrain.Writer {
	t.Helper()
	s, err := NewSink(SinkConfig{Path: path, Format: "debezium", Debezium: &encoding.DebeziumOptions{ProvideTransactionMetadata: true}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// A transaction that comes in fragments is one BEGIN and one END, which is there
// when its position is durable, and so it is again after a crash in its middle
// (P2, P4).
func TestDebeziumTransactionsAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := debeziumSink(t, path)
	restore(t, w, nil)
	write(t, w, batch(1, 2))
	mark := w.(entrain.Marker).Mark()
	fragment := batch(3, 5)
	fragment.Through = entrain.Position{}
	write(t, w, fragment)
	w.Close() // a crash: nothing of the fragment has a position

	w = debeziumSink(t, path)
	restore(t, w, mark)
	write(t, w, fragment)
	rest := batch(3, 5)
	rest.Events = nil
	write(t, w, rest)
	w.Close()
	const want = "BEGIN c c END:2 BEGIN c c c END:3"
	if got := outline(t, path); got != want {
		t.Errorf("the file has %s, want %s", got, want)
	}
}

// outline names the records of a file.
func outline(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		var r struct {
			Value struct {
				Status, Op string
				Count      json.Number `json:"event_count"`
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		name := r.Value.Op + r.Value.Status
		if r.Value.Count != "" {
			name += ":" + r.Value.Count.String()
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestSettingsOfAnotherFormatAreRefused(t *testing.T) {
	if _, err := NewSink(SinkConfig{Format: "flat", Debezium: &encoding.DebeziumOptions{}}); err == nil {
		t.Error("settings of the format debezium were taken for flat")
	}
	if _, err := NewSink(SinkConfig{Format: "debezium", Debezium: &encoding.DebeziumOptions{TimePrecisionMode: "x"}}); err == nil {
		t.Error("an unknown mode was taken")
	}
}

// The format cloudevents goes into a file with its settings.
func TestCloudEventsInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	s, err := NewSink(SinkConfig{Path: path, Format: "cloudevents", CloudEvents: &encoding.CloudEventsOptions{Source: "/shop"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	restore(t, w, nil)
	write(t, w, batch(1, 2))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		SpecVersion, ID, Source, Type string
		Data                          struct{ ID string }
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err := json.Unmarshal([]byte(lines[0]), &e); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 2 || e.SpecVersion != "1.0" || e.Source != "/shop" || e.Type != "io.entrain.change.insert" || e.ID == "" || e.ID != e.Data.ID {
		t.Errorf("%d lines, the first is %s", len(lines), lines[0])
	}
}
