package kafka

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
)

// set is the form of the commands that give topics settings.
var setCommand = regexp.MustCompile(`^kafka-configs\.sh --bootstrap-server (\S+) --alter --entity-type topics --entity-name (\S+) --add-config ([a-z.]+)=(\S+)$`)

// obeySet does what a command of kafka-configs.sh says.
func obeySet(t *testing.T, command string) {
	t.Helper()
	m := setCommand.FindStringSubmatch(command)
	if m == nil {
		t.Fatalf("the command is %s", command)
	}
	alter(t, m[1], m[2], map[string]string{m[3]: m[4]})
}

// makeTopic makes a topic with some settings; "partitions" counts as one.
func makeTopic(t *testing.T, address, name string, settings map[string]string) {
	t.Helper()
	partitions, err := strconv.Atoi(cmp.Or(settings["partitions"], "1"))
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]*string{}
	for k, v := range settings {
		if k != "partitions" {
			configs[k] = &v
		}
	}
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		made, err := adm.CreateTopic(ctx, int32(partitions), 1, configs, name)
		if err == nil {
			err = made.Err
		}
		return err
	})
}

// found are the findings that are not well, by code.
func found(t *testing.T, checker entrain.Checker, source *entrain.Report) map[string]entrain.Finding {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	report, err := checker.Check(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	bad, codes := map[string]entrain.Finding{}, map[string]bool{}
	for _, f := range report.Findings {
		codes[f.Code] = true
		if f.Object == "" || f.Doc != "kafka.md#"+f.Code {
			t.Errorf("finding %+v lacks its object or page", f)
		}
		if f.Status != entrain.FindingOK {
			bad[f.Code] = f
		}
	}
	for _, code := range checker.Codes() {
		if !codes[code] {
			t.Errorf("nothing is said of %s", code)
		}
	}
	return bad
}

func wantFinding(t *testing.T, all map[string]entrain.Finding, code string, status entrain.FindingStatus) entrain.Finding {
	t.Helper()
	f, there := all[code]
	if !there || f.Status != status || len(all) != 1 {
		t.Fatalf("found %+v, want %s as %v alone", all, code, status)
	}
	return f
}

// Before anything is there, and behind a run, all is well; nothing is made by
// looking.
func TestCheckFindsNothing(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, func(c *LogConfig) { c.Partitions = 2 })
	l.Cursors([]string{id + ".warehouse"})
	sink := newTestSink(t, address, id+"s", nil)
	source := &entrain.Report{Name: "shop", Tables: []*entrain.Table{{Schema: "public", Name: "orders"}}}
	for _, checker := range []entrain.Checker{l, sink} {
		if bad := found(t, checker, source); len(bad) > 0 {
			t.Errorf("before: %+v", bad)
		}
	}
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.ListTopics(ctx)
		for name := range all {
			if strings.HasPrefix(name, id) {
				t.Errorf("the check made the topic %s", name)
			}
		}
		return err
	})
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Partitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bad := found(t, l, nil); len(bad) > 0 {
		t.Errorf("behind: %+v", bad)
	}
	report, err := l.Check(t.Context(), nil)
	if err != nil || report.Partitions != 2 {
		t.Errorf("%d partitions, %v", report.Partitions, err)
	}
}

// Every finding about a topic is gone when its command was typed, and what would
// lose events is a stop until then.
func TestCheckTopics(t *testing.T) {
	address := broker(t)
	for _, c := range []struct {
		name, topic string // behind the id
		settings    map[string]string
		set         func(*LogConfig)
		code        string
		status      entrain.FindingStatus
		stops       bool
	}{
		{name: "compacted stream", topic: ".changes", settings: map[string]string{"cleanup.policy": "compact"}, code: codeCleanup, status: entrain.FindingError, stops: true},
		{name: "stream compacted besides", topic: ".changes", settings: map[string]string{"cleanup.policy": "compact,delete"}, code: codeCleanup, status: entrain.FindingError, stops: true},
		{name: "state with retention", topic: ".state", settings: map[string]string{"cleanup.policy": "delete"}, code: codeCleanup, status: entrain.FindingError, stops: true},
		{name: "state with retention besides", topic: ".state", settings: map[string]string{"cleanup.policy": "compact,delete"}, code: codeCleanup, status: entrain.FindingError, stops: true},
		{name: "shapes with retention", topic: ".changes.shapes", settings: map[string]string{"cleanup.policy": "delete"}, code: codeCleanup, status: entrain.FindingError, stops: true},
		{name: "short retention", topic: ".changes", settings: map[string]string{"cleanup.policy": "delete", "retention.ms": "60000"}, set: func(c *LogConfig) { c.Retention = time.Hour },
			code: codeRetention, status: entrain.FindingWarning},
		{name: "retention by size", topic: ".changes", settings: map[string]string{"cleanup.policy": "delete", "retention.bytes": "1000000"}, code: codeRetention, status: entrain.FindingWarning},
		{name: "replicas in sync", topic: ".changes", settings: map[string]string{"cleanup.policy": "delete", "min.insync.replicas": "2"}, code: codeReplication, status: entrain.FindingError},
		{name: "small messages", topic: ".changes", settings: map[string]string{"cleanup.policy": "delete", "max.message.bytes": "10000"}, code: codeMessages, status: entrain.FindingError},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := unique()
			makeTopic(t, address, id+c.topic, c.settings)
			l := newTestLog(t, address, id, func(cfg *LogConfig) {
				if c.set != nil {
					c.set(cfg)
				}
			})
			f := wantFinding(t, found(t, l, nil), c.code, c.status)
			if c.stops {
				wantStop(t, opening(t, l), "topic_cleanup")
			}
			if len(f.Fix) != 1 {
				t.Fatalf("fixes %+v", f.Fix)
			}
			obeySet(t, f.Fix[0].Shell)
			if bad := found(t, l, nil); len(bad) > 0 {
				t.Errorf("after %s: %+v", f.Fix[0].Shell, bad)
			}
			if err := opening(t, l); err != nil {
				t.Errorf("after %s: %v", f.Fix[0].Shell, err)
			}
		})
	}
}

// opening is what a session of a capture meets.
func opening(t *testing.T, l *Log) error {
	t.Helper()
	w, err := l.Open(t.Context())
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err = l.Partitions(t.Context()); err != nil {
		return err
	}
	_, err = w.(entrain.Positioner).Position(t.Context())
	return err
}

// A delivery does not read a compacted stream either: it would pass over what is
// gone.
func TestCompactedStreamIsNotRead(t *testing.T) {
	address, id := broker(t), unique()
	makeTopic(t, address, id+".changes", map[string]string{"cleanup.policy": "compact"})
	l := newTestLog(t, address, id, nil)
	_, err := l.Read("", l.partition(0)).Open(t.Context(), entrain.Position{})
	stop := wantStop(t, err, "topic_cleanup")
	command, _, _ := strings.Cut(stop.Next, "; ")
	obeySet(t, command)
	r, err := l.Read("", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// What the file says does not suit the topic or the brokers.
func TestCheckAgainstTheFile(t *testing.T) {
	address := broker(t)
	for _, c := range []struct {
		name   string
		set    func(*LogConfig)
		made   int // partitions of a topic that is there; 0: none
		code   string
		status entrain.FindingStatus
		says   string
	}{
		{"fewer partitions", func(c *LogConfig) { c.Partitions = 3 }, 2, codePartitions, entrain.FindingError, "2 partitions"},
		{"more partitions", func(c *LogConfig) { c.Partitions = 1 }, 2, codePartitions, entrain.FindingError, "2 partitions"},
		{"brokers for a topic", func(c *LogConfig) { c.ReplicationFactor = 3 }, 0, codeReplication, entrain.FindingError, "replication_factor 3"},
		{"long transactions", func(c *LogConfig) { c.TransactionTimeout = 48 * time.Hour }, 0, codeTimeout, entrain.FindingError, "transaction.max.timeout.ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := unique()
			if c.made > 0 {
				makeTopic(t, address, id+".changes", map[string]string{"cleanup.policy": "delete", "partitions": strconv.Itoa(c.made)})
			}
			f := wantFinding(t, found(t, newTestLog(t, address, id, c.set), nil), c.code, c.status)
			if !strings.Contains(f.Why, c.says) {
				t.Errorf("why: %s", f.Why)
			}
			if c.code == codePartitions && (len(f.Fix) != 1 || f.Fix[0].Config != "stream:\n  partitions: 2\n") {
				t.Errorf("fix: %+v", f.Fix)
			}
		})
	}
	t.Run("topics by hand", func(t *testing.T) {
		no, id := false, unique()
		f := wantFinding(t, found(t, newTestLog(t, address, id, func(c *LogConfig) { c.Create = &no }), nil), codeRights, entrain.FindingError)
		if len(f.Fix) != 1 || !strings.HasPrefix(f.Fix[0].Shell, "kafka-topics.sh ") {
			t.Errorf("fix: %+v", f.Fix)
		}
	})
}

func TestCheckWithoutBrokers(t *testing.T) {
	sink := newTestSink(t, "127.0.0.1:1", unique(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := sink.Check(ctx, nil)
	var u *entrain.Unreachable
	if !errors.As(err, &u) || u.Next == "" {
		t.Fatalf("got %v", err)
	}
}
