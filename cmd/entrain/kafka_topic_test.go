package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// firstCopy makes a site's pipeline one that copies rows which are there before, into
// tables that it makes, through one partition.
func firstCopy(t *testing.T) *kafkaSite {
	t.Helper()
	s := newKafkaSite(t)
	text := readText(t, s.file)
	for old, now := range map[string]string{
		"partitions: 3":             "partitions: 1",
		"snapshot: {mode: never}\n": "",
		`url: "${TARGET_URL}"}`:     `url: "${TARGET_URL}", create_tables: true}`,
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the file has no %s:\n%s", old, text)
		}
		text = strings.Replace(text, old, now, 1)
	}
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// topic is the name of the stream's topic in the file, which tells all others that a
// site has.
func (s *kafkaSite) topic(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(readText(t, s.file), "transactional_id: ")
	name, _, _ := strings.Cut(rest, ",")
	return name
}

// own are the topics and groups of the site.
func (s *kafkaSite) own(t *testing.T) []string {
	t.Helper()
	prefix := s.topic(t)
	return slices.DeleteFunc(s.topics(t), func(name string) bool { return !strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "shop") })
}

// started is the process of one half, or of both.
func (s *kafkaSite) started(t *testing.T, half string) *process {
	t.Helper()
	return launchIn(t, "", []string{"SOURCE_URL=" + s.env["SOURCE_URL"], "TARGET_URL=" + s.env["TARGET_URL"]}, half, s.file)
}

// ids are the orders at the target; empty if there is no such table.
func (s *kafkaSite) ids(t *testing.T) string {
	t.Helper()
	if pgtest.QueryOne(t, s.target, "SELECT to_regclass('orders') IS NULL") == "t" {
		return ""
	}
	return pgtest.QueryOne(t, s.target, "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM orders")
}

func (s *kafkaSite) arrive(t *testing.T, want string) {
	t.Helper()
	pgtest.Eventually(t, patience, "the target has "+want, func() bool { return s.ids(t) == want })
}

// TestTeardownBehindAFirstCopy: what entrain made at the brokers goes also where tables
// were copied and made, so that a pipeline that begins anew has no old row.
func TestTeardownBehindAFirstCopy(t *testing.T) {
	s := firstCopy(t)
	for _, rows := range [][2]int{{1, 3}, {11, 12}} {
		order(t, s.source, rows[0], rows[1])
		p := s.run(t)
		order(t, s.source, rows[1]+1, rows[1]+1)
		s.arrive(t, map[int]string{1: "1 2 3 4", 11: "11 12 13"}[rows[0]])
		p.signal(t, syscall.SIGTERM)
		p.exit(t, 0)
		o := invoke(t, s.env, "teardown", "--yes", s.file)
		o.want(t, 0)
		if left := s.own(t); len(left) > 0 {
			t.Errorf("left are %v behind\n%s", left, o.stdout)
		}
		pgtest.Exec(t, s.source, "TRUNCATE orders")
		pgtest.Exec(t, s.target, "TRUNCATE orders")
	}
}

// TestStreamTopicChanges: neither half works on another topic than the stream is in, and
// nothing is lost when the topic is put back, or begun anew.
func TestStreamTopicChanges(t *testing.T) {
	s := firstCopy(t)
	topic := s.topic(t)
	order(t, s.source, 1, 2)
	p := s.run(t)
	s.arrive(t, "1 2")
	p.signal(t, syscall.SIGTERM)
	p.exit(t, 0)
	order(t, s.source, 3, 3)
	rewrite(t, s.file, "topic: "+topic, "topic: "+topic+".wrong")
	before := s.own(t)

	o := invoke(t, s.env, "check", "--only", "kafka_topic", s.file)
	if o.want(t, exitDiffer); !strings.Contains(o.stdout, topic+".wrong") || !strings.Contains(o.stdout, "topic: "+topic+"\n") {
		t.Errorf("check says\n%s", o.stdout)
	}
	for _, half := range []string{"capture", "deliver", "run"} {
		p := s.started(t, half)
		p.exit(t, exitEnvironment)
		if text := p.stderr.String(); !strings.Contains(text, "stopped (stream_topic_changed)") || !strings.Contains(text, "entrain teardown "+s.file) {
			t.Errorf("%s says %s", half, text)
		}
	}
	invoke(t, s.env, "teardown", "--yes", s.file).want(t, exitEnvironment, "stream_topic_changed")
	invoke(t, s.env, "verify", s.file).want(t, exitEnvironment, "stream_topic_changed")
	if after := s.own(t); !slices.Equal(after, before) {
		t.Errorf("there are %v now, and were %v", after, before)
	}

	rewrite(t, s.file, "topic: "+topic+".wrong", "topic: "+topic)
	invoke(t, s.env, "check", "--only", "kafka_topic", s.file).want(t, 0)
	p = s.run(t)
	s.arrive(t, "1 2 3")
	p.signal(t, syscall.SIGTERM)
	p.exit(t, 0)

	invoke(t, s.env, "teardown", "--yes", s.file).want(t, 0)
	rewrite(t, s.file, "topic: "+topic, "topic: "+topic+".wrong")
	pgtest.Exec(t, s.source, "DELETE FROM orders WHERE id = 2")
	pgtest.Exec(t, s.target, "TRUNCATE orders")
	p = s.run(t)
	s.arrive(t, "1 3")
	p.signal(t, syscall.SIGTERM)
	p.exit(t, 0)
	if names := s.own(t); slices.Contains(names, topic) {
		t.Errorf("the old topic is there again: %v", names)
	}
}
