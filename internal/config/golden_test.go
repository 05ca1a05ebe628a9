package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/transform"
)

var update = flag.Bool("update", false, "write the messages into testdata instead of comparing")

// fakeSource stands for a connector's configuration.
type fakeSource struct {
	URL      connector.Secret   `yaml:"url,required"`
	Password connector.Secret   `yaml:"password"`
	Slot     string             `yaml:"slot"`
	Port     uint16             `yaml:"port"`
	Create   *bool              `yaml:"create"`
	MaxEvent connector.ByteSize `yaml:"max_event_bytes"`
	Tables   struct {
		Include []string `yaml:"include"`
		Exclude []string `yaml:"exclude"`
	} `yaml:"tables"`
	Options map[string]string  `yaml:"options"`
	Keys    []connector.Secret `yaml:"keys"`
	Ratio   float64            `yaml:"ratio"`
	Derived string             `yaml:"-"`
	Hidden  string
}

type fakeSink struct {
	Path   string `yaml:"path"`
	Format string `yaml:"format"`
}

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"SOURCE_URL": "postgres://app:hunter2@db.example/shop", "PORT": "5433", "EMPTY": "",
		"SECRET_TEXT": "hunter2", "INJECT": "x\nsink: {type: evil}", "YES": "true", "NULL": "null",
	}[name]
	return v, ok
}

// loadAll is what a command does with a file: load it and decode both ends.
func loadAll(path string) (*File, *fakeSource, *fakeSink, error) {
	f, err := Load(path, testEnv)
	if err != nil {
		return nil, nil, nil, err
	}
	source, sink := &fakeSource{Slot: "entrain_" + f.Name}, &fakeSink{Path: "-", Format: "native"}
	if err := f.Source.Decode(source); err != nil {
		return nil, nil, nil, err
	}
	if err := f.Sinks[0].Decode(sink); err != nil {
		return nil, nil, nil, err
	}
	_, err = transform.New(f.Transform)
	return f, source, sink, f.TransformError(err)
}

// Every mistake in testdata has the message beside it, word by word, and none
// repeats a credential (P8).
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d cases, %v; want at least 30", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			checkMessage(t, path)
		})
	}
}

func checkMessage(t *testing.T, path string) {
	_, _, _, err := loadAll(path)
	if err == nil {
		t.Fatal("loaded without an error")
	}
	if _, ok := err.(*Error); !ok {
		t.Errorf("the error is a %T; want *Error", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the message shows the password:\n%s", err)
	}
	golden := strings.TrimSuffix(path, ".yaml") + ".want"
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
		t.Errorf("message differs (-want +got):\n%s", diff)
	}
}
