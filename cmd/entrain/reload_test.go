package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// reloading supervises an engine whose configuration is what next returns.
func reloading(t *testing.T, e engine, next func() *work) (result chan error, got chan *work, said, heard func() string) {
	t.Helper()
	env, heard := manager(t)
	p, stderr := talk(env)
	result, got = make(chan error, 1), make(chan *work, 1)
	go func() {
		s := p.supervise(next)
		defer s.close()
		w, err := s.run(t.Context(), work{engine: e, timeout: time.Minute})
		got <- w
		result <- err
	}()
	if text := heard(); text != "READY=1" {
		t.Fatalf("the service manager heard %q", text)
	}
	return result, got, stderr.String, heard
}

// reloads checks that the service manager heard of a SIGHUP, when it came.
func reloads(t *testing.T, heard func() string) {
	t.Helper()
	text := heard()
	usec, ok := strings.CutPrefix(text, "RELOADING=1\nMONOTONIC_USEC=")
	if !ok || strings.Trim(usec, "0123456789") != "" || len(usec) < 4 {
		t.Errorf("the service manager heard %q", text)
	}
}

// A SIGHUP that changes nothing leaves the engine alone, and the service manager
// hears that all is as it was.
func TestReloadOfNothing(t *testing.T) {
	result, got, _, heard := reloading(t, fakeEngine{}, func() *work { return nil })
	for range 2 {
		send(t, syscall.SIGHUP)
		reloads(t, heard)
		if text := heard(); text != "READY=1" {
			t.Errorf("the service manager heard %q", text)
		}
	}
	send(t, syscall.SIGTERM)
	if w, err := <-got, <-result; w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
}

// A SIGHUP that changes something drains the engine, however that ends, and
// hands over what is to run next: what the last SIGHUP brought.
func TestReload(t *testing.T) {
	for what, end := range map[string]error{"clean": nil, "late": context.DeadlineExceeded, "refused": &core.Stop{Code: "row_refused"}} {
		drained := make(chan error)
		var wanted []*work
		result, got, said, heard := reloading(t, fakeEngine{drained: drained}, func() *work {
			wanted = append(wanted, &work{})
			return wanted[len(wanted)-1]
		})
		send(t, syscall.SIGHUP)
		reloads(t, heard)
		send(t, syscall.SIGHUP)
		reloads(t, heard)
		drained <- end
		w, err := <-got, <-result
		if err != nil || len(wanted) != 2 || w != wanted[1] {
			t.Errorf("%s: %v, %v of %d", what, err, w, len(wanted))
		}
		if unclean := strings.Contains(said(), "the drain was not clean"); unclean != (end != nil) {
			t.Errorf("%s: said %s", what, said())
		}
	}
}

// Whoever wants the program to end while it starts anew is obeyed: the first
// signal drains, the second stops at once.
func TestSignalsDuringAReload(t *testing.T) {
	for _, second := range []bool{false, true} {
		drained := make(chan error, 1)
		result, got, _, heard := reloading(t, fakeEngine{drained: drained}, func() *work { return &work{} })
		send(t, syscall.SIGHUP)
		reloads(t, heard)
		send(t, syscall.SIGTERM)
		if text := heard(); text != "STOPPING=1" {
			t.Errorf("the service manager heard %q", text)
		}
		if second {
			send(t, syscall.SIGTERM)
		} else {
			drained <- nil
		}
		w, err := <-got, <-result
		if w != nil || second != (err != nil) || second && exitCode(err) != 143 {
			t.Errorf("second %t: %v, %v", second, w, err)
		}
		close(drained)
	}
}

// rewrite changes the pipeline file.
func rewrite(t *testing.T, file, old, changed string) {
	t.Helper()
	text := readText(t, file)
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the file", old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(text, old, changed, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Only a file that is right, says something else and is of the same pipeline
// makes an engine; what is wrong is told with its place.
func TestReloader(t *testing.T) {
	file := writeFile(t, toFile)
	p, stderr := talk(source)
	l, err := p.load(file)
	if err != nil {
		t.Fatal(err)
	}
	at := p.place.get()
	var built []*loaded
	refuse := errors.New("no such engine")
	r := &reloader{p: p, now: l, left: func(*loaded) error { return nil }, build: func(l *loaded) (*work, error) {
		built = append(built, l)
		if l.file.Pipeline.ShutdownTimeout == time.Second {
			return nil, refuse
		}
		return &work{engine: fakeEngine{}}, nil
	}}
	for i, c := range []struct{ old, changed, said string }{
		{"\nsource", "\n# a comment\nsource", "the configuration has not changed"},
		{"mode: never", "mode: evern", `shop.yaml:4:18: expected one of`},
		{"mode: evern", "mode: never", "the configuration has not changed"},
		{"sink: {type: file", "snik: {type: file", `shop.yaml:5:1: unknown key`},
		{"snik", "sink", "the configuration has not changed"},
		{"# a comment", "name: other", `name cannot change from \"shop\" to \"other\"`},
		{"name: other", "pipeline: {shutdown_timeout: 1s}", "no such engine"},
		{"pipeline: {shutdown_timeout: 1s}", "", "the configuration has not changed"},
		{"/state}", "/elsewhere}", "state.dir cannot change from"},
		{"/elsewhere}", "/state}", "the configuration has not changed"},
		{"\nsink:", "\nstream: {type: embedded}\nsink:", "stream cannot change while the pipeline runs"},
		{"\nstream: {type: embedded}", "", "the configuration has not changed"},
	} {
		rewrite(t, file, c.old, c.changed)
		before := len(stderr.String())
		if w := r.again(); w != nil {
			t.Errorf("%d: %s: became an engine", i, c.changed)
		}
		if said := stderr.String()[before:]; !strings.Contains(said, c.said) || strings.Count(said, "\n") != 1 {
			t.Errorf("%d: %s: said %s", i, c.changed, said)
		}
	}
	built = nil
	rewrite(t, file, "mode: never", "mode: initial")
	if w := r.again(); w == nil || w.streaming == nil || len(built) != 1 || built[0].snapshot.Mode != pipeline.SnapshotInitial {
		t.Errorf("the change was not taken: %v, built %d", w, len(built))
	}
	if w := r.again(); w != nil {
		t.Error("the same change was taken twice")
	}
	if now := p.place.get(); now != at {
		t.Errorf("advice is about %v now", now)
	}
}

// growing is a source with tables that it does not capture yet.
type growing struct {
	core.Source
	missing []core.TableName
	err     error
	added   []core.TableName
}

func (g *growing) MissingTables(context.Context) ([]core.TableName, error) { return g.missing, g.err }

func (g *growing) AddTable(_ context.Context, schema, name string) error {
	g.added = append(g.added, core.TableName{Schema: schema, Name: name})
	return nil
}

// ordered is an engine that keeps its orders and refuses those of one table.
type ordered struct {
	fakeEngine
	orders  []pipeline.Order
	refuses string
}

func (o *ordered) Do(_ context.Context, order pipeline.Order) error {
	o.orders = append(o.orders, order)
	if order.Table == o.refuses {
		return &core.Stop{Code: "table_not_added", What: "no right"}
	}
	return nil
}

// Tables that a new configuration takes are added: with their rows, if the
// configuration wants those; one that cannot be had hinders no other.
func TestReloadAddsTables(t *testing.T) {
	file := writeFile(t, strings.Replace(toFile, "mode: never", "tables: {exclude: [public.log]}", 1))
	p, stderr := talk(source)
	l, err := p.load(file)
	if err != nil {
		t.Fatal(err)
	}
	g := &growing{missing: []core.TableName{{Schema: "public", Name: "a"}, {Schema: "public", Name: "log"}, {Schema: "public", Name: "b"}}}
	l.source = g
	e := &ordered{refuses: "public.a"}
	p.addTables(t.Context(), l, e)
	want := []pipeline.Order{{Do: pipeline.OrderAdd, Table: "public.a"}, {Do: pipeline.OrderAdd, Table: "public.b"}}
	if diff := cmp.Diff(want, e.orders); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]core.TableName{{Schema: "public", Name: "log"}}, g.added); diff != "" {
		t.Errorf("added without rows (-want +got):\n%s", diff)
	}
	for _, text := range []string{"table_not_added", "entrain table add " + file + " public.a", "table=public.b", "table=public.log"} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("it was not said: %s in %s", text, stderr)
		}
	}
	g.missing, g.err = nil, errors.New("connection refused")
	p.addTables(t.Context(), l, e)
	if !strings.Contains(stderr.String(), "connection refused") {
		t.Errorf("said %s", stderr)
	}
}

// A running pipeline takes a new configuration and goes on without losing or
// doubling anything; a broken file changes nothing (P1, P2).
func TestReloadOfAProcess(t *testing.T) {
	url, file := shop(t), writeFile(t, toFile)
	env, heard := manager(t)
	p := launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(url), "NOTIFY_SOCKET=" + env["NOTIFY_SOCKET"]}, "run", file)
	if text := heard(); text != "READY=1" {
		t.Fatalf("the service manager heard %q", text)
	}
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 20)
	p.until(t, file, "20 orders", delivered(20))

	rewrite(t, file, "path: ", "pth: ")
	p.signal(t, syscall.SIGHUP)
	reloads(t, heard)
	if text := heard(); text != "READY=1" {
		t.Errorf("the service manager heard %q", text)
	}
	pgtest.Eventually(t, patience, "the mistake is told with its place", func() bool {
		said := p.stderr.String()
		return strings.Contains(said, "the configuration stays as it was") && strings.Contains(said, `shop.yaml:4:20: unknown key`)
	})
	order(t, url, 21, 30)
	p.until(t, file, "30 orders", delivered(30))

	rewrite(t, file, "pth: ", "path: ")
	p.signal(t, syscall.SIGHUP)
	reloads(t, heard)
	heard()
	pgtest.Eventually(t, patience, "an unchanged file is told", func() bool {
		return strings.Contains(p.stderr.String(), "the configuration has not changed")
	})
	if strings.Contains(p.stderr.String(), "starts anew") {
		t.Error("an unchanged file was taken for a changed one")
	}

	rewrite(t, file, "\nsource", "\ntransform: [{tables: [public.orders], columns: {exclude: [note]}}]\nsource")
	order(t, url, 31, 60)
	p.signal(t, syscall.SIGHUP)
	reloads(t, heard)
	if text := heard(); text != "READY=1" {
		t.Errorf("the service manager heard %q", text)
	}
	order(t, url, 61, 80)
	out := filepath.Join(filepath.Dir(file), "out.jsonl")
	pgtest.Eventually(t, patience, "the last order is there", func() bool { return strings.Contains(readText(t, out), `"id":80`) })
	text := readText(t, out)
	orders(t, text, 80)
	if lines := strings.Split(text, "\n"); !strings.Contains(lines[29], `"note"`) || strings.Contains(lines[79], `"note"`) {
		t.Error("the rules of the new file do not hold, or held before")
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
}

// The process keeps its state and its socket meanwhile: no other one gets in
// between, and whoever asks is answered by the engine at work.
func TestReloadKeepsTheState(t *testing.T) {
	url, file := shop(t), writeFile(t, toFile)
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	report := func() (r admin.Report) {
		p.until(t, file, "an answer", func(got admin.Report) bool { r = got; return streams(got) })
		return r
	}
	first := report()
	for i := range 5 {
		rewrite(t, file, "\nsource", fmt.Sprintf("\npipeline: {shutdown_timeout: %ds}\nsource", 30+i))
		order(t, url, i*10+1, i*10+10)
		p.signal(t, syscall.SIGHUP)
		pgtest.Eventually(t, patience, "the engine is a new one", func() bool {
			return strings.Count(p.stderr.String(), "pipeline starts anew") == 2*i+1
		})
		launch(t, url, "run", file).exit(t, exitEnvironment)
		rewrite(t, file, fmt.Sprintf("\npipeline: {shutdown_timeout: %ds}", 30+i), "")
		p.signal(t, syscall.SIGHUP)
		pgtest.Eventually(t, patience, "and that again", func() bool {
			return strings.Count(p.stderr.String(), "pipeline starts anew") == 2*(i+1)
		})
	}
	if last := report(); last.PID != first.PID || !last.Started.Equal(first.Started) {
		t.Errorf("%v became %v", first, last)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	orders(t, readText(t, filepath.Join(filepath.Dir(file), "out.jsonl")), 50)
}
