package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// rewindable is a pipeline through an embedded stream into two files.
const rewindable = `
name: shop
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
stream: {type: embedded, retention: %s}
sinks:
  - {name: a, type: file, path: DIR/a.jsonl}
  - {name: b, type: file, path: DIR/b.jsonl}
state: {dir: DIR/state}
`

// sinks runs a pipeline of that kind until both sinks have some rows.
func sinks(t *testing.T, retention string, rows int) (url, file string, p *process) {
	t.Helper()
	url = shop(t)
	file = writeFile(t, fmt.Sprintf(rewindable, retention))
	p = launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, rows)
	p.until(t, file, "all rows", at(rows, rows))
	return url, file, p
}

// at reports that both sinks have taken so many events.
func at(a, b int) func(admin.Report) bool {
	return func(r admin.Report) bool {
		return len(r.Sinks) == 2 && r.Sinks[0].Status.Applied >= int64(a) && r.Sinks[1].Status.Applied >= int64(b)
	}
}

func lines(t *testing.T, file, sink string) int {
	t.Helper()
	return strings.Count(readText(t, filepath.Join(filepath.Dir(file), sink+".jsonl")), "\n")
}

// TestReplayStretch: a stretch of the stream is counted, delivered once more into one
// sink, and what is in no stretch is not.
func TestReplayStretch(t *testing.T) {
	url, file, p := sinks(t, "1h", 30)
	lsn := pgtest.QueryOne(t, url, "SELECT pg_current_wal_lsn()")
	order(t, url, 31, 40)
	p.until(t, file, "40 rows", at(40, 40))
	dry := invoke(t, anySource, "replay", file, "--sink", "a", "--from", lsn, "--dry-run")
	dry.want(t, exitOK)
	if !regexp.MustCompile(`shop +public\.orders +10 +0 `).MatchString(dry.stdout) || lines(t, file, "a") != 40 {
		t.Errorf("a dry run: %s", dry.stdout)
	}
	done := invoke(t, anySource, "replay", file, "--sink", "a", "--from", lsn, "--table", "public.*")
	done.want(t, exitOK)
	if !regexp.MustCompile(`shop +public\.orders +10 +10 `).MatchString(done.stdout) || lines(t, file, "a") != 50 || lines(t, file, "b") != 40 {
		t.Errorf("replayed: %s", done.stdout)
	}
	none := invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h", "--to", "30m", "-o", "json")
	none.want(t, exitOK)
	if lines(t, file, "b") != 40 {
		t.Errorf("replayed: %s", none.stdout)
	}
	none = invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h", "--to", "30m")
	if none.want(t, exitOK); none.stdout != "nothing to replay between 1h and 30m\n" {
		t.Errorf("replayed: %s", none.stdout)
	}
	invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1m", "--to", "2m").want(t, exitUsage, "--from 1m is after --to 2m")
	invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h", "--table", "public.orders", "--table", "public.zzz").
		want(t, exitRuntime, "--table public.zzz: no such table in the stream or among those that the source captures, only public.orders")
	if lines(t, file, "b") != 40 {
		t.Error("a replay that was refused delivered something")
	}
	all := invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h")
	all.want(t, exitOK)
	if lines(t, file, "b") != 80 {
		t.Errorf("replayed: %s", all.stdout)
	}
	invoke(t, anySource, "replay", file, "--from", "1h").want(t, exitRuntime, `--sink NAME, one of ["a" "b"]`)
	invoke(t, anySource, "replay", file, "--sink", "a").want(t, exitUsage, "--from")
	invoke(t, anySource, "replay", file, "--sink", "a", "--from", "soon").want(t, exitUsage, "no moment")
	invoke(t, anySource, "replay", file, "--sink", "c", "--from", "1h").want(t, exitRuntime, `no sink "c"`)
	order(t, url, 41, 45)
	p.until(t, file, "45 rows", at(45, 45))
}

// TestReplayOnlySink: the sink need not be named if the pipeline has one, whatever its
// name is; of several it has to be.
func TestReplayOnlySink(t *testing.T) {
	url := shop(t)
	only := strings.Replace(rewindable, "  - {name: b, type: file, path: DIR/b.jsonl}\n", "", 1)
	file := writeFile(t, fmt.Sprintf(only, "1h"))
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 5)
	p.until(t, file, "5 rows", func(r admin.Report) bool { return len(r.Sinks) == 1 && r.Sinks[0].Status.Applied >= 5 })
	done := invoke(t, anySource, "replay", file, "--from", "1h")
	if done.want(t, exitOK); lines(t, file, "a") != 10 {
		t.Errorf("replayed: %s", done.stdout)
	}
}

// TestReplayQuietTable: a table that the source captures and the stream has nothing of is
// known.
func TestReplayQuietTable(t *testing.T) {
	url := shop(t)
	pgtest.Exec(t, url, "CREATE TABLE quiet (id int PRIMARY KEY)")
	file := writeFile(t, fmt.Sprintf(rewindable, "1h"))
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 5)
	p.until(t, file, "5 rows", at(5, 5))
	quiet := invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h", "--table", "public.quiet")
	if quiet.want(t, exitOK); quiet.stdout != "nothing to replay between 1h and where the sink is\n" {
		t.Errorf("replayed: %s", quiet.stdout)
	}
	invoke(t, anySource, "replay", file, "--sink", "b", "--from", "1h", "--table", "public.zz*").want(t, exitRuntime, "only public.orders, public.quiet")
}

// TestReplayWhatIsGone: a stretch that the stream has removed is refused.
func TestReplayWhatIsGone(t *testing.T) {
	_, file, _ := sinks(t, "0", 30)
	pgtest.Eventually(t, patience, "the stream is trimmed and says so", func() bool {
		o := invoke(t, anySource, "replay", file, "--sink", "a", "--from", "1h", "--dry-run")
		return o.code == exitEnvironment && strings.Contains(o.stderr, "replay_incomplete")
	})
}

// TestReplayWithoutStream: there is nothing to replay, nor a sink that could pause.
func TestReplayWithoutStream(t *testing.T) {
	url, direct := shop(t), writeFile(t, toFile)
	p := launch(t, url, "run", direct)
	p.until(t, direct, "streaming", streams)
	invoke(t, anySource, "replay", direct, "--from", "1h").want(t, exitEnvironment, "no_stream")
	order(t, url, 1, 3)
	pgtest.Eventually(t, patience, "3 lines", func() bool { return lines(t, direct, "out") == 3 })
	refused := invoke(t, anySource, "snapshot", "start", direct, "--sink", "sink")
	refused.want(t, exitRuntime, "sink sink: without a stream no sink begins by itself", "entrain snapshot start "+direct+" --table SCHEMA.TABLE")
	invoke(t, anySource, "snapshot", "start", direct, "--table", "public.orders").want(t, exitOK)
	pgtest.Eventually(t, patience, "its rows come once more", func() bool { return lines(t, direct, "out") >= 6 })
	invoke(t, anySource, "sink", "pause", direct, "sink").want(t, exitRuntime, "without a stream")
}

// TestPausedSink: a sink that is paused gets nothing, also after a restart, and all when
// it is resumed.
func TestPausedSink(t *testing.T) {
	url, file, p := sinks(t, "0", 30)
	pause := invoke(t, anySource, "sink", "pause", file, "a")
	pause.want(t, exitOK)
	order(t, url, 31, 60)
	p.until(t, file, "60 rows", at(30, 60))
	p.signal(t, 15)
	p.exit(t, exitOK)
	p = launch(t, url, "run", file)
	order(t, url, 61, 70)
	p.until(t, file, "10 more rows", at(0, 10))
	status := invoke(t, anySource, "status", file)
	if lines(t, file, "a") != 30 || lines(t, file, "b") != 70 || !strings.Contains(status.stdout, "paused") {
		t.Errorf("%d and %d lines; status: %s", lines(t, file, "a"), lines(t, file, "b"), status.stdout)
	}
	if !strings.Contains(status.stdout, "entrain sink resume "+file+" a\n") {
		t.Errorf("status does not say how it goes on: %s", status.stdout)
	}
	invoke(t, anySource, "replay", file, "--sink", "a", "--from", "1h").want(t, exitRuntime, "stands still")
	next := regexp.MustCompile(`entrain (sink resume \S+ a)`).FindStringSubmatch(pause.stderr)
	if next == nil {
		t.Fatalf("nothing to type next: %s", pause.stderr)
	}
	invoke(t, anySource, strings.Fields(next[1])...).want(t, exitOK)
	p.until(t, file, "the rest", at(40, 10))
	if lines(t, file, "a") != 70 {
		t.Errorf("%d lines", lines(t, file, "a"))
	}
	invoke(t, anySource, "sink", "resume", file, "a").want(t, exitRuntime, "does not stand still")
}

// anySource is enough for commands that only talk to the process.
var anySource = map[string]string{"SOURCE_URL": "postgres://nobody@127.0.0.1:1/shop"}

// gated is a pipeline through an embedded stream into a table.
const gated = `
name: shop
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
stream: {type: embedded, retention: 1h}
sink: {type: postgres, url: "${TARGET_URL}"%s}
state: {dir: DIR/state}
`

// TestReplayIntoRows: a sink that holds rows is refused what would overwrite them; with a
// gate, what is replayed out of the stream leaves newer rows as they are, and brings no
// deleted one back.
func TestReplayIntoRows(t *testing.T) {
	t.Run("without a gate", func(t *testing.T) { replayIntoRows(t, "", exitEnvironment) })
	t.Run("with one", func(t *testing.T) { replayIntoRows(t, ", version_gate: true", exitOK) })
}

func replayIntoRows(t *testing.T, gate string, want int) {
	url, target := shop(t), shop(t)
	file := writeFile(t, fmt.Sprintf(gated, gate))
	p := launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 50)
	pgtest.Exec(t, url, "UPDATE orders SET note = 'new' WHERE id <= 20", "DELETE FROM orders WHERE id > 40", "UPDATE orders SET note = 'newer' WHERE id <= 10")
	p.until(t, file, "all changes", func(r admin.Report) bool { return len(r.Sinks) == 1 && r.Sinks[0].Status.Applied >= 90 })
	env := map[string]string{"SOURCE_URL": anySource["SOURCE_URL"], "TARGET_URL": anySource["SOURCE_URL"]}
	o := invoke(t, env, "replay", file, "--from", "1h")
	o.want(t, want)
	if want != exitOK {
		o.want(t, want, "gate_missing", "version_gate: true")
	} else if !regexp.MustCompile(`public\.orders +90 +90 `).MatchString(o.stdout) {
		t.Errorf("replayed: %s", o.stdout)
	}
	const rows = "SELECT string_agg(id || coalesce(note, ''), ',' ORDER BY id) FROM orders"
	if got, source := pgtest.QueryOne(t, target, rows), pgtest.QueryOne(t, url, rows); got != source {
		t.Errorf("%s: the target has %.300s, the source %.300s", gate, got, source)
	}
	if want == exitOK {
		var counts map[string]int64
		p.until(t, file, "the counts", func(r admin.Report) bool { counts = r.Sinks[0].Status.Counts; return true })
		if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM entrain.reconciliation"); n != "0" || counts["late"] != 0 || counts["queued"] != 0 {
			t.Errorf("%s changes of a replay are in the queue; counts: %v", n, counts)
		}
	}
	p.signal(t, 15)
	p.exit(t, exitOK)
}

// TestReplayedTables: the sum stands in a line of its own, not in the first table's.
func TestReplayedTables(t *testing.T) {
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	var out strings.Builder
	done := []fanout.Replayed{
		{Partition: "shop", Events: map[string]int64{"public.a": 155, "public.b": 33}, Taken: 188, Queued: 2, First: at, Last: at},
		{Partition: "one", Events: map[string]int64{"public.a": 7}, Taken: 7, First: at, Last: at},
		{Partition: "none", Events: map[string]int64{}},
	}
	if err := writeReplayed(&out, admin.Replay{From: "1h"}, done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"PARTITION TABLE EVENTS TAKEN QUEUED FIRST LAST", "shop public.a 155", "shop public.b 33",
		"shop all 188 188 2 2026-11-27T10:00:00Z 2026-11-27T10:00:00Z", "one public.a 7 7 0 2026-11-27T10:00:00Z 2026-11-27T10:00:00Z", "none - 0 0 0 - -"}
	if !slices.Equal(got, want) {
		t.Errorf("%s", out.String())
	}
}

// TestSoftDeletesThroughStream: rows that are deleted at the source are marked with their
// last values, whether their changes come together or not; a replay changes none.
func TestSoftDeletesThroughStream(t *testing.T) {
	url, target := shop(t), shop(t)
	pgtest.Exec(t, target, "ALTER TABLE orders ADD COLUMN gone_at timestamptz")
	file := writeFile(t, fmt.Sprintf(gated, ", version_gate: true, soft_delete: {column: gone_at}"))
	p := launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 4)
	pgtest.Exec(t, url, "UPDATE orders SET note = 'one'", "UPDATE orders SET note = 'two' WHERE id < 4", "DELETE FROM orders WHERE id <= 2")
	order(t, url, 5, 6)
	pgtest.Exec(t, url, "BEGIN; UPDATE orders SET note = 'last' WHERE id IN (5, 3); DELETE FROM orders WHERE id IN (5, 3); COMMIT")
	p.until(t, file, "all changes", func(r admin.Report) bool { return len(r.Sinks) == 1 && r.Sinks[0].Status.Applied >= 19 })
	const want = "1two-,2two-,3last-,4one,5last-,6"
	const rows = "SELECT string_agg(id || coalesce(note, '') || CASE WHEN gone_at IS NULL THEN '' ELSE '-' END, ',' ORDER BY id) FROM orders"
	if got := pgtest.QueryOne(t, target, rows); !strings.HasPrefix(got, want) {
		t.Errorf("the target has %s, want %s", got, want)
	}
	env := map[string]string{"SOURCE_URL": anySource["SOURCE_URL"], "TARGET_URL": anySource["SOURCE_URL"]}
	invoke(t, env, "replay", file, "--from", "1h").want(t, exitOK)
	if got := pgtest.QueryOne(t, target, rows); !strings.HasPrefix(got, want) {
		t.Errorf("behind a replay the target has %s, want %s", got, want)
	}
	p.signal(t, 15)
	p.exit(t, exitOK)
}
