package nats

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// made opens a log and makes its streams.
func made(t *testing.T, l *Log, err error) *Log {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestTeardownEmbedded: the folder goes, but for what is none of ours; one that a
// process has open stays.
func TestTeardownEmbedded(t *testing.T) {
	cfg := EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "stream"), Config: Config{Producer: "shop"}}
	fresh := func() *Log {
		l, err := NewEmbedded(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	if list, err := fresh().Teardown(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("of what was never there: %v, %v", list, err)
	}
	open := made(t, fresh(), nil)
	var stop *entrain.Stop
	if _, err := fresh().Teardown(t.Context()); !errors.As(err, &stop) || stop.Code != "stream_in_use" {
		t.Fatalf("of an open one: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(cfg.Dir, "mine")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, err := fresh().Teardown(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		for range 2 {
			if err := list[0].Do(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.Remove(other) // in the second round it is gone
	}
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// TestTeardownServer: the two streams of the producer go, those of another stay.
func TestTeardownServer(t *testing.T) {
	at := newElsewhere(t)
	logs := map[string]*Log{}
	for _, name := range []string{"shop", "other"} {
		l, err := NewLog(ServerConfig{Config: Config{Producer: name}, URL: at.url})
		logs[name] = made(t, l, err)
	}
	list, err := logs["shop"].Teardown(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, r := range append(list, list...) {
		if err := r.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	nc, js, err := at.backend(Config{}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, want := range map[string]error{
		"entrain_shop": jetstream.ErrStreamNotFound, "entrain=values_shop": jetstream.ErrStreamNotFound, "entrain_other": nil, "entrain=values_other": nil,
	} {
		if _, err := js.Stream(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if list, err := logs["shop"].Teardown(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("again: %v, %v", list, err)
	}
}
