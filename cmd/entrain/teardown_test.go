package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/store"
)

// leaver is a source or sink that left something.
type leaver struct {
	name string
	gone *[]string
	err  error
}

func (l leaver) Open(context.Context, core.Position) (core.Reader, error) {
	return nil, errors.New("not to be opened")
}

func (l leaver) Teardown(context.Context) ([]core.Removal, error) {
	return []core.Removal{{What: l.name, SQL: "DROP " + l.name, Do: func(context.Context) error {
		if l.err == nil {
			*l.gone = append(*l.gone, l.name)
		}
		return l.err
	}}}, nil
}

// left returns a pipeline whose source and state are left, and what becomes of
// them.
func left(t *testing.T, err error) (l *loaded, folder string, gone *[]string) {
	t.Helper()
	p, _ := talk(source)
	l, loadErr := p.load(writeFile(t, toFile))
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	gone = new([]string)
	l.source = leaver{name: "slot", gone: gone, err: err}
	state, openErr := store.Open(l.file.State.Dir, l.file.Name)
	if openErr != nil {
		t.Fatal(openErr)
	}
	folder = state.Folder()
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	return l, folder, gone
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestTeardownRemovesWhatItListed(t *testing.T) {
	l, folder, gone := left(t, nil)
	p, _ := talk(source)
	var out bytes.Buffer
	p.stdout = &out
	asked := 0
	err := p.teardown(t.Context(), l, func(n int) error {
		asked = n
		if len(*gone) > 0 || !exists(folder) {
			t.Error("removed before it was asked")
		}
		return nil
	})
	if err != nil || asked != 2 || len(*gone) != 1 || exists(folder) {
		t.Errorf("%v, asked for %d, gone %v, folder %v", err, asked, *gone, exists(folder))
	}
	for _, text := range []string{"  slot\n      DROP slot\n", "state folder " + folder, "rm -r ", "removed slot\n"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("%q is not in\n%s", text, out.String())
		}
	}
	out.Reset()
	l.source = nil
	if err := p.teardown(t.Context(), l, p.confirm); err != nil || out.String() != "nothing of pipeline shop is left\n" {
		t.Errorf("again: %v, %s", err, out.String())
	}
}

// Without a person or --yes, and while the pipeline runs, nothing is touched.
func TestTeardownRefuses(t *testing.T) {
	l, folder, gone := left(t, nil)
	p, _ := talk(source)
	if err := p.teardown(t.Context(), l, p.confirm); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("no terminal: %v", err)
	}
	yes := func(int) error { return nil }
	state, err := store.Open(l.file.State.Dir, l.file.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.teardown(t.Context(), l, yes); exitCode(err) != exitEnvironment || !strings.Contains(err.Error(), "state_locked") {
		t.Errorf("running: %v", err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	if len(*gone) != 0 || !exists(filepath.Join(folder, "state.db")) {
		t.Errorf("gone %v", *gone)
	}
}

// What fails is named, and the state stays until everything else is gone.
func TestTeardownThatFails(t *testing.T) {
	l, folder, _ := left(t, errors.New("slot is active"))
	p, _ := talk(source)
	err := p.teardown(t.Context(), l, func(int) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "remove slot (0 of 2 are removed): slot is active") || !exists(folder) {
		t.Errorf("%v", err)
	}
}
