package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestLetterTopicNeedsBrokers: which brokers a topic of dead letters is at, or why
// none are.
func TestLetterTopicNeedsBrokers(t *testing.T) {
	const (
		from    = "name: shop\nsource: {type: postgres, url: 'postgres://db/shop'}\n"
		letters = "dead_letter: {topic: shop.dlq}\n"
		kafka   = "{type: kafka, brokers: ['db:9092']}\n"
		file    = "{type: file, path: '-'}\n"
	)
	for text, says := range map[string]string{
		from + "sink: " + kafka + letters:                     "",
		from + "sink: " + file + "stream: " + kafka + letters: "",
		from + "sinks:\n- name: a\n  type: file\n  path: a\n- name: b\n  type: kafka\n  brokers: ['db:9092']\n" + letters: "",
		from + "sink: " + file + letters:                                                                                                ":4:22: neither stream nor sink is of type kafka",
		from + "sink: " + file + "stream: " + kafka + "dead_letter: {}\n":                                                               "with a stream of type kafka: dead_letter.topic",
		from + "sink: " + kafka + "dead_letter: {topic: 'a b'}\n":                                                                       "cannot be a topic's name",
		from + "sink: " + kafka + "dead_letter: {topic: a, file: b}\n":                                                                  "kept in one place",
		from + "sinks:\n- name: a\n  type: kafka\n  brokers: ['db:9092']\n- name: b\n  type: kafka\n  brokers: ['db:9092']\n" + letters: "several sinks are of type kafka",
	} {
		p, _ := talk(source)
		_, err := p.load(writeFile(t, text))
		switch {
		case says == "" && err != nil:
			t.Errorf("%s\n%v", text, err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("%s\ngives %v, want %s", text, err, says)
		}
	}
}

// TestLetterTopicOfSeveralProcesses: letters that one delivering process keeps are
// listed, replayed and dropped by the next one that has the partitions.
func TestLetterTopicOfSeveralProcesses(t *testing.T) {
	s := newKafkaSite(t)
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file, append(text, "dead_letter: {topic: shop.dlq, unit: event}\nretry: {backoff_max_ms: 100, backoff_base_ms: 20}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, s.target, "CREATE TABLE orders (id bigint PRIMARY KEY, note text CONSTRAINT lucky CHECK (id % 30 <> 3))")
	if o := invoke(t, s.env, "check", s.file); o.code != 0 {
		t.Fatalf("check: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	env := []string{"SOURCE_URL=" + s.env["SOURCE_URL"], "TARGET_URL=" + s.env["TARGET_URL"]}
	workers := filepath.Join(filepath.Dir(s.file), "state", "shop", "workers")
	capture, first := launchIn(t, "", env, "capture", s.file), launchIn(t, "", env, "deliver", s.file)
	capture.until(t, s.file, "the capture streams", streams)
	order(t, s.source, 1, 100)
	listed := func() string {
		o := invoke(t, s.env, "dlq", "list", "1", "--state-dir", workers)
		return o.stdout + o.stderr
	}
	pgtest.Eventually(t, patience, "four letters", func() bool { return strings.Count(listed(), "lucky") == 4 })
	first.signal(t, syscall.SIGKILL)
	<-first.ended
	second := launchIn(t, "", env, "deliver", s.file)
	pgtest.Eventually(t, patience, "the second process has them", func() bool { return strings.Count(listed(), "lucky") == 4 })
	pgtest.Exec(t, s.target, "ALTER TABLE orders DROP CONSTRAINT lucky")
	if o := invoke(t, s.env, "dlq", "replay", "1", "--all", "--state-dir", workers); o.code != 0 || !strings.Contains(o.stderr, "0 are left") {
		t.Fatalf("replay: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders"); n != "100" {
		t.Errorf("the target has %s rows", n)
	}
	pgtest.Exec(t, s.target, "ALTER TABLE orders ADD CONSTRAINT fewer CHECK (id <= 100)")
	order(t, s.source, 101, 102)
	pgtest.Eventually(t, patience, "two more letters", func() bool { return strings.Count(listed(), "fewer") == 2 })
	id := regexp.MustCompile(`source/\S+`).FindString(listed())
	if o := invoke(t, s.env, "dlq", "drop", "1", id, "--yes", "--state-dir", workers); o.code != 0 || !strings.Contains(o.stderr, "1 are left") {
		t.Fatalf("drop %s: %d\n%s%s", id, o.code, o.stdout, o.stderr)
	}
	second.signal(t, syscall.SIGTERM)
	second.exit(t, 0)
	capture.signal(t, syscall.SIGTERM)
	capture.exit(t, 0)
	if o := invoke(t, s.env, "teardown", "--yes", s.file); o.code != 0 || !strings.Contains(o.stdout, "removed 1 dead letters of pipeline shop in the topic shop.dlq") {
		t.Errorf("teardown: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
