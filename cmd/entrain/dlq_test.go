package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestLetterOrdersThatAreTypedWrong: an order about a sink or a letter that there is not is a
// wrong command line, names the next command, and does nothing; so is a key's other value.
func TestLetterOrdersThatAreTypedWrong(t *testing.T) {
	w := newParked(t, `CREATE TABLE n (k int8 PRIMARY KEY, v text)`)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1, 'bad')`)
	w.until(t, w.file, "a letter", func(r admin.Report) bool { return r.Status.DeadLetters == 1 })
	dlq := func(words ...string) outcome {
		t.Helper()
		env := map[string]string{"SOURCE_URL": pgtest.SourceURL(w.source), "TARGET_URL": pgtest.TargetURL(w.target)}
		return invoke(t, env, append([]string{"dlq"}, words...)...)
	}
	id := regexp.MustCompile(`source/\S+`).FindString(dlq("list", w.file).stdout)
	list := "entrain dlq list " + w.file
	for says, words := range map[string][]string{
		`no sink "nope", only ["sink"]`: {"drop", w.file, "--all", "--yes", "--sink", "nope"},
		`no sink "no", only ["sink"]`:   {"replay", w.file, "--all", "--sink", "no"},
		`no sink "n", only ["sink"]`:    {"edit", w.file, id, "--set", "v=x", "--sink", "n"},
		"letter bogus; see: " + list:    {"drop", w.file, "bogus"}, // it does not ask before
		"letter s/1/; see: " + list:     {"replay", w.file, "s/1/"},
		"letter s/i/1/0; see: " + list:  {"edit", w.file, "s/i/1/0", "--set", "v=x"},
		"letter x; see: " + list:        {"show", w.file, "x"},
		"part of the row's key":         {"edit", w.file, id, "--set", "k=2"},
		`no column "none"`:              {"edit", w.file, id, "--set", "none=2"},
	} {
		if o := dlq(words...); o.code != exitUsage || !strings.Contains(o.stderr, says) {
			t.Errorf("%q: %d %s, want %s", words, o.code, o.stderr, says)
		}
	}
	w.until(t, w.file, "the letter is left", func(r admin.Report) bool { return r.Status.DeadLetters == 1 })
	dlq("export", w.file, filepath.Join(t.TempDir(), "all")).want(t, exitOK, "1 dead letter\n")
	dlq("drop", w.file, id, "--yes", "--sink", "sink").want(t, exitOK, "dropped 1 dead letter, 0 are left\n")
	w.end()
}

// TestLettersOfAPausedSink: what is asked of a sink that stands still is refused with the
// command that has it go on, and nothing is done for others.
func TestLettersOfAPausedSink(t *testing.T) {
	w := &parked{t: t, source: shop(t), target: shop(t)}
	w.file = writeFile(t, strings.Replace(retrying, "dead_letter: {}", "dead_letter: {unit: event}", 1)+"stream: {type: embedded}\n")
	env := map[string]string{"SOURCE_URL": pgtest.SourceURL(w.source), "TARGET_URL": pgtest.TargetURL(w.target)}
	w.process = launchIn(t, "", []string{"SOURCE_URL=" + env["SOURCE_URL"], "TARGET_URL=" + env["TARGET_URL"]}, "run", w.file)
	w.until(t, w.file, "streaming", streams)
	pgtest.Exec(t, w.target, `ALTER TABLE orders ADD CONSTRAINT lucky CHECK (id <> 3)`)
	order(t, w.source, 1, 5)
	w.until(t, w.file, "a letter", func(r admin.Report) bool { return len(r.Sinks) > 0 && r.Sinks[0].Status.DeadLetters == 1 })
	invoke(t, env, "sink", "pause", w.file, "sink").want(t, exitOK)
	says := "sink sink stands still, and takes nothing: entrain sink resume " + w.file + " sink"
	id := regexp.MustCompile(`source/\S+`).FindString(invoke(t, env, "dlq", "list", w.file).stdout)
	invoke(t, env, "dlq", "replay", w.file, "--all").want(t, exitRuntime, says)
	invoke(t, env, "dlq", "edit", w.file, id, "--set", "note=good").want(t, exitRuntime, says)
	invoke(t, env, "dlq", "replay", w.file, "--all", "--sink", "nope").want(t, exitUsage, `no sink "nope", only ["sink"]`)
	invoke(t, env, "sink", "resume", w.file, "sink").want(t, exitOK)
	pgtest.Exec(t, w.target, `ALTER TABLE orders DROP CONSTRAINT lucky`)
	w.until(t, w.file, "it delivers", func(r admin.Report) bool {
		return len(r.Sinks) > 0 && !r.Sinks[0].Paused && r.Sinks[0].Status.Phase == "streaming"
	})
	invoke(t, env, "dlq", "replay", w.file, "--all").want(t, exitOK, "replayed 1 dead letter, 0 are left")
	w.end()
}

// TestEditedTransaction: one letter of a transaction that is parked whole is delivered with
// the rest of it, and the record says what came of each try.
func TestEditedTransaction(t *testing.T) {
	w := newParked(t, `CREATE TABLE n (k int8 PRIMARY KEY, v text)`)
	w.end()
	resection(t, w.file, "{unit: event}", "{unit: transaction}")
	env := map[string]string{"SOURCE_URL": pgtest.SourceURL(w.source), "TARGET_URL": pgtest.TargetURL(w.target)}
	w.process = launchIn(t, "", []string{"SOURCE_URL=" + env["SOURCE_URL"], "TARGET_URL=" + env["TARGET_URL"]}, "run", w.file)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1, 'good'), (2, 'bad'), (3, 'good')`)
	w.until(t, w.file, "three letters", func(r admin.Report) bool { return r.Status.DeadLetters == 3 })
	id := regexp.MustCompile(`(source/\S+).*lucky`).FindStringSubmatch(invoke(t, env, "dlq", "list", w.file).stdout)[1]
	if o := invoke(t, env, "dlq", "edit", w.file, id, "--set", "v=bad"); o.code == exitOK || !strings.Contains(o.stderr, "lucky") {
		t.Errorf("still bad: %d %s", o.code, o.stderr)
	}
	w.until(t, w.file, "three letters are left", func(r admin.Report) bool { return r.Status.DeadLetters == 3 })
	invoke(t, env, "dlq", "edit", w.file, id, "--set", "v=fine").want(t, exitOK, "with 1 changed column, and 2 other letters of its transaction")
	w.eventually(`SELECT string_agg(k || v, ',' ORDER BY k) FROM n`, "1good,2fine,3good")
	w.end()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(w.file), "state", "shop", auditName))
	if err != nil {
		t.Fatal(err)
	}
	var came []string
	for line := range strings.Lines(string(text)) {
		var r pipeline.EditRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		came = append(came, *r.To+" "+string(r.Outcome))
		if refused := r.Outcome == pipeline.EditRefused; refused != strings.Contains(r.Reason, "lucky") {
			t.Errorf("the reason of %s is %q", r.Outcome, r.Reason)
		}
	}
	if got := strings.Join(came, ", "); got != "bad begun, bad refused, fine begun, fine delivered" {
		t.Errorf("the record says %s", got)
	}
}
