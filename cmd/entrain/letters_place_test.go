package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// resection puts another section of dead letters into a pipeline's file.
func resection(t *testing.T, file, was, now string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil && !strings.Contains(string(text), was) {
		t.Fatalf("%q is not in the file:\n%s", was, text)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(string(text), was, now, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestLettersThatAreLeftInAFile: letters in a file that is named are not forgotten when the
// file is named no more: neither a SIGHUP nor a start goes on without them, also if the
// file is gone. Once it has none the move is taken; teardown removes what it has.
func TestLettersThatAreLeftInAFile(t *testing.T) {
	const none, table = "", "dead_letter: {table: entrain.dead_letter}"
	w := newParked(t, `CREATE TABLE n (k int8 PRIMARY KEY, v text)`)
	w.end()
	path := filepath.Join(filepath.Dir(w.file), "letters.jsonl")
	file := "dead_letter: {file: " + path + "}"
	resection(t, w.file, "dead_letter: {unit: event}", file)
	env := []string{"SOURCE_URL=" + pgtest.SourceURL(w.source), "TARGET_URL=" + pgtest.TargetURL(w.target)}
	w.process = launchIn(t, "", env, "run", w.file)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1, 'old')`)
	pgtest.Exec(t, w.source, `UPDATE n SET v = 'bad'`)
	w.until(t, w.file, "a letter", func(r admin.Report) bool { return r.Status.DeadLetters == 1 })

	resection(t, w.file, file, table)
	w.signal(t, syscall.SIGHUP)
	pgtest.Eventually(t, patience, "the configuration stays", func() bool {
		said := w.stderr.String()
		return strings.Contains(said, "stays as it was") && strings.Contains(said, "dead_letters_left") && strings.Contains(said, path)
	})
	pgtest.Exec(t, w.source, `UPDATE n SET v = 'new'`)
	w.until(t, w.file, "the old settings hold", func(r admin.Report) bool { return r.Status.DeadLetters == 2 })
	w.end()

	refused := func(section string) {
		t.Helper()
		p := launchIn(t, "", env, "run", w.file)
		p.exit(t, exitEnvironment)
		if said := p.stderr.String(); !strings.Contains(said, "dead_letters_left") || !strings.Contains(said, path) {
			t.Errorf("%q: %s", section, said)
		}
	}
	refused(table)
	move(t, path, path+".away")
	refused("the file is gone")
	move(t, path+".away", path)
	resection(t, w.file, table, none)
	refused(none)
	if o := invoke(t, map[string]string{"SOURCE_URL": pgtest.SourceURL(w.source), "TARGET_URL": pgtest.TargetURL(w.target)}, "teardown", w.file); !strings.Contains(o.stdout, "2 dead letters of shop in the file "+path) {
		t.Errorf("teardown: %s%s", o.stdout, o.stderr)
	}

	resection(t, w.file, "retry:", file+"\nretry:")
	w.process = launchIn(t, "", env, "run", w.file)
	w.until(t, w.file, "two letters", func(r admin.Report) bool { return r.Status.DeadLetters == 2 })
	pgtest.Exec(t, w.target, `ALTER TABLE n DROP CONSTRAINT lucky`)
	w.replay()
	w.eventually(`SELECT v FROM n`, "new")
	resection(t, w.file, file, table)
	w.signal(t, syscall.SIGHUP)
	pgtest.Eventually(t, patience, "the move is taken", func() bool { return strings.Contains(w.stderr.String(), "starts anew") })
	w.until(t, w.file, "streaming", streams)
	move(t, path, path+".away")
	w.end()
	w.process = launchIn(t, "", env, "run", w.file)
	w.until(t, w.file, "the old place is asked no more", streams)
	w.end()
}

// TestLettersThatAreLeftInATopic: behind a stream a delivery stands still while its letters
// are in a topic that the file does not name any more; put back, it goes on.
func TestLettersThatAreLeftInATopic(t *testing.T) {
	const section = "dead_letter: {topic: shop.dlq, unit: event}\n"
	s := newKafkaSite(t)
	resection(t, s.file, "snapshot:", section+"retry: {backoff_max_ms: 100, backoff_base_ms: 20}\nsnapshot:")
	pgtest.Exec(t, s.target, "CREATE TABLE orders (id bigint PRIMARY KEY, note text CONSTRAINT lucky CHECK (id <> 3))")
	env := []string{"SOURCE_URL=" + s.env["SOURCE_URL"], "TARGET_URL=" + s.env["TARGET_URL"]}
	p := launchIn(t, "", env, "run", s.file)
	p.until(t, s.file, "streaming", streams)
	order(t, s.source, 1, 5)
	kept := func(r admin.Report) bool {
		n := 0
		for _, sink := range r.Sinks {
			n += sink.Status.DeadLetters
		}
		return n == 1
	}
	p.until(t, s.file, "a letter", kept)
	resection(t, s.file, section, "")
	p.signal(t, syscall.SIGHUP)
	pgtest.Eventually(t, patience, "the configuration stays", func() bool {
		return strings.Contains(p.stderr.String(), "stays as it was") && strings.Contains(p.stderr.String(), "the topic shop.dlq")
	})
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	pgtest.Exec(t, s.target, "ALTER TABLE orders DROP CONSTRAINT lucky")
	p = launchIn(t, "", env, "run", s.file)
	p.until(t, s.file, "the delivery stands still", func(r admin.Report) bool {
		for _, sink := range r.Sinks {
			if strings.Contains(sink.Failed, "dead_letters_left") {
				return true
			}
		}
		return false
	})
	p.signal(t, syscall.SIGTERM)
	<-p.ended
	resection(t, s.file, "snapshot:", section+"snapshot:")
	p = launchIn(t, "", env, "run", s.file)
	p.until(t, s.file, "the letter is there", kept)
	if o := invoke(t, s.env, "dlq", "replay", s.file, "--all"); o.code != 0 {
		t.Errorf("replay: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders"); n != "5" {
		t.Errorf("the target has %s rows", n)
	}
}
