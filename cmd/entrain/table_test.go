package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

// fakeProcess answers as a running pipeline does.
type fakeProcess struct {
	report admin.Report
	tables []pipeline.TableStatus
	err    error // of tables and orders

	mu     sync.Mutex
	orders []pipeline.Order
}

func (f *fakeProcess) Letters(context.Context) ([]json.RawMessage, error) { return nil, nil }

func (f *fakeProcess) Replay(context.Context, admin.Replay) (json.RawMessage, error) {
	return nil, f.err
}

func (f *fakeProcess) Report() admin.Report { return f.report }

func (f *fakeProcess) Tables(context.Context) ([]pipeline.TableStatus, error) { return f.tables, f.err }

func (f *fakeProcess) Schemas() []pipeline.SchemaHistory { return nil }

func (f *fakeProcess) Do(_ context.Context, o pipeline.Order) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, o)
	return f.err
}

// took returns the orders since the last call.
func (f *fakeProcess) took() []pipeline.Order {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.orders
	f.orders = nil
	return all
}

// serve has f answer for the pipeline of a file.
func (f *fakeProcess) serve(t *testing.T) (file, dir string) {
	t.Helper()
	file = writeFile(t, toFile)
	dir = filepath.Join(filepath.Dir(file), "state")
	folder := store.Folder(dir, "shop")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	server, err := admin.Listen(folder, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return file, dir
}

var since = time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 7200))

func someTables() []pipeline.TableStatus {
	return []pipeline.TableStatus{
		{Table: "public.customers", State: pipeline.TableStreaming, Estimate: 1200},
		{Table: "public.fresh", State: pipeline.TableNew, Since: since, Estimate: -1},
		{Table: "public.items", State: pipeline.TableResyncing, Held: true, Since: since, Rows: 70, Estimate: 50},
		{Table: "public.it's", State: pipeline.TablePaused, Since: since, Estimate: -1},
		{Table: "public.orders", State: pipeline.TableCopying, Refresh: true, Since: since, Rows: 500, Estimate: 2000},
		{Table: "public.prices", State: pipeline.TableFailed, Since: since, Estimate: 9, Code: "row_refused",
			Reason: "table public.prices: row_refused: the target refused the insert of public.prices, row \"id\" = '7': numeric field\noverflow; next: SELECT 1;"},
		{Table: "public.tail", State: pipeline.TableCatchingUp, Since: since, Rows: 9, Estimate: 10},
	}
}

const tablesText = `TABLE             STATE            SINCE                 ROWS                          REASON
public.customers  streaming                              about 1200
public.fresh      new              2026-05-04T01:02:01Z  0 rows
public.items      resyncing, held  2026-05-04T01:02:01Z  70 of about 70 rows (99%)
public.it's       paused           2026-05-04T01:02:01Z
public.orders     copying          2026-05-04T01:02:01Z  500 of about 2000 rows (25%)
public.prices     failed           2026-05-04T01:02:01Z  about 9                       row_refused: the target refused the insert of public.prices…
public.tail       catching-up      2026-05-04T01:02:01Z  9 of about 10 rows (100%)
next: entrain table resume WHAT public.items
next: entrain table resume WHAT 'public.it'\''s'
next: entrain table resync WHAT public.prices
whole reasons: entrain table list WHAT -o wide
`

func TestTableList(t *testing.T) {
	f := &fakeProcess{tables: someTables()}
	file, dir := f.serve(t)
	got := invoke(t, source, "table", "list", file)
	got.want(t, exitOK)
	if diff := cmp.Diff(strings.ReplaceAll(tablesText, "WHAT", file), got.stdout); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = invoke(t, source, "table", "list", "shop", "--state-dir", dir)
	got.want(t, exitOK)
	if want := "next: entrain table resync shop public.prices --state-dir " + dir + "\n"; !strings.Contains(got.stdout, want) {
		t.Errorf("by name:\n%s\nwant %s", got.stdout, want)
	}
	got = invoke(t, source, "table", "list", "-o", "wide", file)
	got.want(t, exitOK)
	whole := "\n\npublic.prices, failed:\n  " + strings.ReplaceAll(f.tables[5].Reason, "\n", "\n  ") + "\n  next: entrain table resync " + file + " public.prices\n"
	if !strings.HasSuffix(got.stdout, whole) || strings.Contains(got.stdout, "whole reasons") {
		t.Errorf("got %s\nwithout %s", got.stdout, whole)
	}
	got = invoke(t, source, "table", "list", "-o", "json", file)
	var list struct{ Tables []map[string]any }
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || len(list.Tables) != 7 {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	want := map[string]any{"table": "public.items", "state": "resyncing", "held": true, "since": "2026-05-04T03:02:01+02:00",
		"rows": 70.0, "estimate": 50.0, "percent": 99.0, "next": "entrain table resume " + file + " public.items"}
	if diff := cmp.Diff(want, list.Tables[2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, has := list.Tables[0]["since"]; has {
		t.Errorf("a time that nobody remembers: %v", list.Tables[0])
	}
	f.tables = nil
	if got := invoke(t, source, "table", "list", file); got.stdout != "the source captures no table\n" {
		t.Errorf("of no tables: %q", got.stdout)
	}
	if got := invoke(t, source, "table", "list", "-o", "json", file); got.stdout != "{\n  \"tables\": []\n}\n" {
		t.Errorf("of no tables: %q", got.stdout)
	}
}

// Each command is one order, or one a table, and one line that leads on.
func TestOrderCommands(t *testing.T) {
	f := &fakeProcess{}
	file, _ := f.serve(t)
	of := func(do pipeline.Verb, tables ...string) (all []pipeline.Order) {
		for _, table := range tables {
			all = append(all, pipeline.Order{Do: do, Table: table})
		}
		return all
	}
	for _, c := range []struct {
		args string
		want []pipeline.Order
		said string
	}{
		{"table add FILE public.a", of(pipeline.OrderAdd, "public.a"),
			"adding public.a: its rows are copied while the others flow; how far they are: entrain snapshot status FILE\n"},
		{"table pause FILE public.a", of(pipeline.OrderPause, "public.a"), "paused public.a; it goes on with: entrain table resume FILE public.a\n"},
		{"table resume FILE public.a", of(pipeline.OrderResume, "public.a"), "resumed public.a; how far its rows are: entrain snapshot status FILE\n"},
		{"table resync FILE public.a", of(pipeline.OrderResync, "public.a"), "resyncing public.a; how far the rows are: entrain snapshot status FILE\n"},
		{"table resync FILE public.a public.b", []pipeline.Order{{Do: pipeline.OrderResync, Table: "public.a", With: []string{"public.b"}}},
			"resyncing public.a, public.b; how far the rows are: entrain snapshot status FILE\n"},
		{"snapshot start FILE --table public.a", of(pipeline.OrderRefresh, "public.a"),
			"copying public.a; how far the rows are: entrain snapshot status FILE --table public.a\n"},
		{"snapshot start FILE --sink lake", []pipeline.Order{{Do: pipeline.OrderRefresh, Sink: "lake"}},
			"copying all tables for sink lake; how far the rows are: entrain snapshot status FILE\n"},
		{"snapshot pause FILE", of(pipeline.OrderHold, ""), "paused all copying; it goes on with: entrain snapshot resume FILE\n"},
		{"snapshot pause FILE --table public.a --table public.b", of(pipeline.OrderHold, "public.a", "public.b"),
			"paused public.a; it goes on with: entrain snapshot resume FILE --table public.a\n" +
				"paused public.b; it goes on with: entrain snapshot resume FILE --table public.b\n"},
		{"snapshot resume FILE", of(pipeline.OrderResume, ""), "resumed all copying; how far the rows are: entrain snapshot status FILE\n"},
		{"table add FILE public.a --quiet", of(pipeline.OrderAdd, "public.a"), ""},
	} {
		got := invoke(t, source, strings.Fields(strings.ReplaceAll(c.args, "FILE", file))...)
		got.want(t, exitOK)
		if diff := cmp.Diff(c.want, f.took()); diff != "" {
			t.Errorf("%s: orders (-want +got):\n%s", c.args, diff)
		}
		if want := strings.ReplaceAll(c.said, "FILE", file); got.stderr != want || got.stdout != "" {
			t.Errorf("%s:\nsaid %s\nwant %s\nstdout %q", c.args, got.stderr, want, got.stdout)
		}
	}
}

// What the process refuses is told as if it had been refused here.
func TestRefusedOrders(t *testing.T) {
	f := &fakeProcess{err: &core.Stop{Code: "table_excluded", What: "table public.log is left out", Why: "source.tables.exclude", Next: "entrain table list FILE"}}
	file, _ := f.serve(t)
	const stop = "entrain: stopped (table_excluded)\n  what happened: table public.log is left out\n            why: source.tables.exclude\n           next: entrain table list "
	invoke(t, source, "table", "add", file, "public.log").want(t, exitEnvironment, stop+file+"\n")
	invoke(t, source, "snapshot", "start", file, "--table", "public.log").want(t, exitEnvironment, stop+file+"\n")
	invoke(t, source, "table", "list", file).want(t, exitEnvironment, stop+file+"\n")
	f.err = &core.Unreachable{Why: "nothing listens there", Next: "psql x", Err: core.Retryable(errors.New("connect to postgres://app:hunter2@h/x: refused"))}
	got := invoke(t, source, "table", "resync", file, "public.log")
	got.want(t, exitEnvironment, "entrain: cannot connect\n", "why: nothing listens there", "next: psql x")
	if strings.Contains(got.stderr, "hunter2") {
		t.Error("the password is shown")
	}
	f.err = errors.New("orders need a store")
	invoke(t, source, "table", "resync", file, "public.log").want(t, exitRuntime, "entrain: orders need a store\n")

	idle := writeFile(t, toFile)
	for _, args := range [][]string{{"table", "list", idle}, {"table", "add", idle, "a.b"}, {"snapshot", "status", idle},
		{"snapshot", "cancel", "--yes", idle}, {"snapshot", "start", idle, "--table", "a.b"}} {
		invoke(t, source, args...).want(t, exitEnvironment, "stopped (not_running)", "next: entrain run "+idle)
	}
	for _, c := range []struct{ args, want string }{
		{"table", ""},
		{"table lst", `unknown command "lst"; did you mean "list"?`},
		{"table add x", "1 arguments, expected: entrain table add FILE|NAME TABLE"},
		{"table list -o xml x", "-o xml: expected table, wide or json"},
		{"snapshot status -o xml x", "-o xml: expected table or json"},
		{"snapshot start x", "--table is needed"},
		{"snapshot start x --sink lake --table a.b", "--sink: a sink begins with all rows of all tables"},
		{"snapshot start x --sink lake --where true", "--sink: a sink begins with all rows of all tables"},
		{"snapshot frob", `unknown command "frob"`},
	} {
		code := exitUsage
		if c.want == "" {
			code = exitOK
		}
		invoke(t, source, strings.Fields(c.args)...).want(t, code, c.want)
	}
}

// Cancelling shows what becomes of each table, and does nothing unasked.
func TestSnapshotCancel(t *testing.T) {
	f := &fakeProcess{tables: someTables(), report: admin.Report{Status: pipeline.Status{Phase: "streaming"}}}
	file, _ := f.serve(t)
	const fate = "public.items becomes paused: its changes are left out until it is resumed, which reads its rows anew\n"
	const stays = "public.orders goes on streaming; the rows that were not read yet are not delivered once more\n"
	got := invoke(t, source, "snapshot", "cancel", file)
	got.want(t, exitUsage, fate, stays, "nothing was cancelled: without a terminal to ask at, --yes is needed")
	if orders := f.took(); len(orders) != 0 {
		t.Errorf("unasked: %v", orders)
	}
	got = invoke(t, source, "snapshot", "cancel", "--yes", "--table", "public.items", file)
	got.want(t, exitOK)
	if want := fate + "cancelled public.items; where the tables are: entrain table list " + file + "\n"; got.stderr != want {
		t.Errorf("said %s\nwant %s", got.stderr, want)
	}
	if diff := cmp.Diff([]pipeline.Order{{Do: pipeline.OrderCancel, Table: "public.items"}}, f.took()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.report.Status.Phase = "snapshotting"
	invoke(t, source, "snapshot", "cancel", "--yes", file).want(t, exitOK, "the first copy ends, and the process with it", "cancelled all copying")
	// Where nothing is copied the process says so, and nobody is asked.
	f.report.Status.Phase, f.tables = "streaming", nil
	f.took()
	invoke(t, source, "snapshot", "cancel", file).want(t, exitOK)
	if orders := f.took(); len(orders) != 1 {
		t.Errorf("orders %v", orders)
	}
}

func TestSnapshotStatus(t *testing.T) {
	f := &fakeProcess{tables: someTables(), report: admin.Report{Status: pipeline.Status{Phase: "streaming"}}}
	file, _ := f.serve(t)
	show := func(want string, args ...string) {
		t.Helper()
		got := invoke(t, source, append([]string{"snapshot", "status", file}, args...)...)
		got.want(t, exitOK)
		if diff := cmp.Diff(want, got.stdout); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
	show(`public.fresh   new, 0 rows
public.items   resyncing, held, 70 of about 70 rows (99%)
public.orders  copying, 500 of about 2000 rows (25%)
public.tail    catching-up, 9 of about 10 rows (100%)
`)
	show("public.orders  copying, 500 of about 2000 rows (25%)\n", "--table", "public.orders")
	show("no rows are being copied\n", "--table", "public.customers")
	f.tables = f.tables[:1]
	show("no rows are being copied\n")
	f.report.Status.Snapshot = &pipeline.SnapshotStatus{Held: true, Rows: 30, Estimate: 100, RowsPerSecond: 7, ETASeconds: -1,
		Tables: []pipeline.SnapshotTableStatus{
			{Table: "public.a", State: "copied", Rows: 10, Estimate: 10, Parts: 1, AllParts: 1},
			{Table: "public.b", State: "copying", Rows: 20, Estimate: 90, Parts: 1, AllParts: 5},
		}}
	show("existing rows  1 of 2 tables, 30 of about 100 rows, 7 rows/s, held\n  public.b     20 of about 90 rows, 1 of 5 parts\n")
	show("  public.a  10 of about 10 rows, 1 of 1 parts\n", "--table", "public.a")
	f.err = &core.Stop{Code: "no_chunks"}
	show("  public.a  10 of about 10 rows, 1 of 1 parts\n", "--table", "public.a")
	f.err = nil
	f.tables = someTables()[4:5]
	got := invoke(t, source, "snapshot", "status", "-o", "json", file)
	var view struct {
		Snapshot *pipeline.SnapshotStatus
		Tables   []tableLine
	}
	if err := json.Unmarshal([]byte(got.stdout), &view); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	if view.Snapshot == nil || !view.Snapshot.Held || len(view.Tables) != 1 || view.Tables[0].Percent == nil || *view.Tables[0].Percent != 25 {
		t.Errorf("%s", got.stdout)
	}
}
