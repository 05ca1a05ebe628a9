package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestClassesChecked: check says what becomes of transactions, which rules are for no
// table, and which references are between classes; its fix is executed.
func TestClassesChecked(t *testing.T) {
	url, target, _ := classed(t)
	for _, db := range []string{url, target} {
		pgtest.Exec(t, db, "CREATE TABLE IF NOT EXISTS hot (id bigint PRIMARY KEY, note text)", "CREATE TABLE IF NOT EXISTS cold (id bigint PRIMARY KEY, note text)",
			"CREATE TABLE IF NOT EXISTS warm (id bigint PRIMARY KEY, note text)", "ALTER TABLE cold ADD CONSTRAINT parent FOREIGN KEY (id) REFERENCES hot")
	}
	env := map[string]string{"SOURCE_URL": pgtest.SourceURL(url), "TARGET_URL": pgtest.TargetURL(target)}
	file := writeFile(t, inClasses+classRules("5s", never)+"  - {tables: [public.gone], class: micro_batch, name: other}\n")
	pgtest.Exec(t, url, "CREATE PUBLICATION entrain_shop FOR TABLE hot, warm, cold")
	o := invoke(t, env, "check", file)
	for _, want := range []string{"classes of tables: stream, micro_batch, night, other", "P4 holds within a class", "class_tables", "other (public.gone)",
		"class_references", "the table is of class night", "of class stream"} {
		if !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), want) {
			t.Errorf("check does not say %q: %s", want, o.stdout)
		}
	}
	fix := invoke(t, env, "check", "--fix-sql", "--only", "class_references", file)
	if !strings.Contains(fix.stdout, "DROP CONSTRAINT") {
		t.Fatalf("the fix: %s%s", fix.stdout, fix.stderr)
	}
	for _, line := range strings.Split(fix.stdout, "\n") {
		if strings.Contains(line, "DROP CONSTRAINT") {
			pgtest.Exec(t, target, line)
		}
	}
	if again := invoke(t, env, "check", "--only", "class_references", file); strings.Contains(again.stdout, "of class night") {
		t.Errorf("after the fix: %s", again.stdout)
	}
}

// TestClassesRefused: where classes cannot be, the file or the command says why.
func TestClassesRefused(t *testing.T) {
	const classes = "classes: [{tables: [public.cold], class: micro_batch}]\n"
	invoke(t, source, "check", writeFile(t, toFile+classes)).want(t, exitUsage, "the sink sink, of type file, takes one delivery")
	external := writeFile(t, inClasses+classes+"stream: {type: nats, url: \"nats://127.0.0.1:1\"}\n")
	for _, command := range []string{"capture", "deliver"} {
		invoke(t, anywhere, command, external).want(t, exitUsage, "one process: entrain run FILE")
	}
	invoke(t, anywhere, "verify", writeFile(t, inClasses+classes), "--sink", "sink.night").want(t, exitUsage, "no such class")
	url, direct := shop(t), writeFile(t, toFile)
	p := launch(t, url, "run", direct)
	p.until(t, direct, "streaming", streams)
	invoke(t, anySource, "sink", "flush", direct, "sink").want(t, exitRuntime, "without a stream")
}

// TestClassesAsCommandsSeeThem: a class is paused and resumed, verified and torn down;
// a table that gets another class while its class stands still waits for that.
func TestClassesAsCommandsSeeThem(t *testing.T) {
	url, target, env := classed(t)
	put(t, url, [2]int{1, 10}, "hot", "warm", "cold")
	file := writeFile(t, inClasses+classRules("100ms", never))
	p := launchIn(t, "", env, "run", file)
	has(t, target, "warm", 10)
	p.until(t, file, "the batch waits", rests("sink.night"))
	invoke(t, anywhere, "sink", "pause", file, "sink.micro_batch").want(t, exitOK)
	put(t, url, [2]int{11, 20}, "hot", "warm", "cold")
	has(t, target, "hot", 20)
	invoke(t, anywhere, "sink", "flush", file, "sink").want(t, exitRuntime, "sink.micro_batch stands still")
	invoke(t, anywhere, "sink", "flush", file, "sink.night").want(t, exitOK)
	if cold, warm := count(t, target, "cold"), count(t, target, "warm"); cold != "20" || warm != "10" {
		t.Errorf("%s cold and %s warm rows", cold, warm)
	}
	both := map[string]string{"SOURCE_URL": pgtest.SourceURL(url), "TARGET_URL": pgtest.TargetURL(target)}
	invoke(t, both, "verify", file, "--sink", "sink.night", "--timeout", "20s").want(t, exitOK)
	invoke(t, both, "verify", file, "--timeout", "20s").want(t, exitOK)
	rewrite(t, file, "tables: [public.warm]", "tables: [public.hot]")
	p.signal(t, syscall.SIGHUP)
	pgtest.Eventually(t, patience, "the change waits for what stands still", func() bool {
		return strings.Contains(p.stderr.String(), "it stands still: entrain sink resume")
	})
	put(t, url, [2]int{21, 30}, "hot", "warm", "cold")
	invoke(t, anywhere, "sink", "resume", file, "sink.micro_batch").want(t, exitOK)
	has(t, target, "warm", 30)
	has(t, target, "hot", 30)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	launchIn(t, "", env, "run", "--until", "now", file).exit(t, exitOK)
	equalTables(t, url, target, "hot", "warm", "cold")
	if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM entrain.position WHERE pipeline LIKE 'shop:sink%'"); n != "3" {
		t.Errorf("%s positions", n)
	}
	invoke(t, both, "teardown", "--yes", file).want(t, exitOK)
	if left := pgtest.QueryOne(t, target, "SELECT coalesce(string_agg(pipeline, ' '), '') FROM entrain.position"); left != "" {
		t.Errorf("teardown left the positions of %s", left)
	}
}
