package campaign

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestBrokerKill is ST-04, sampled.
func TestBrokerKill(t *testing.T) {
	t.Parallel()
	r := sampled(t, 2, 0)
	if wide() {
		r.Faults = 30
	}
	brokerCampaign(t, r)
}

// TestTopicGrows is ST-10: partitions that are added under a stream would move keys
// away from what is not delivered yet. The capture stops before it writes there;
// what it prints leads on, and the order of keys is kept.
func TestTopicGrows(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Start(t).Addr()
	s, _ := shop(t, someMajor(t))
	s.name = pgtest.Name(t)
	pgtest.Exec(t, s.source, "ALTER TABLE orders ADD n int NOT NULL DEFAULT 0")
	pgtest.Exec(t, s.target, "ALTER TABLE orders ADD n int NOT NULL DEFAULT 0")
	f := newFleet(t, sampled(t, 0, 0), s, broker).split(3)
	file := f.file("snapshot: {mode: never}")
	capture := launch(t, "capture", file.path)
	file.until(t, "it streams", streaming)
	addOrders(t, s.source, 1, 500)
	for range 5 {
		pgtest.Exec(t, s.source, "UPDATE orders SET n = n + 1")
	}
	pgtest.Eventually(t, patience, "all is in the topic", func() bool { return f.ended(t) >= 3000 })
	capture.signal(t, syscall.SIGTERM)
	capture.exit(t, exitOK)
	f.alter(func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.UpdatePartitions(ctx, 7, f.topic())
		if err == nil {
			err = all.Error()
		}
		return err
	})
	pgtest.Exec(t, s.source, "UPDATE orders SET n = n + 1")
	next := stopped(t, "topic_partitions", "capture", file.path)
	if !strings.Contains(next, "set partitions in "+file.path+" to 7; entrain capture "+file.path) {
		t.Fatalf("the advice is %s", next)
	}
	file.edit(t, "partitions: 3", "partitions: 7")
	f.partitions = 7
	next = stopped(t, "topic_repartitioned", "capture", file.path)

	f.work(2)
	if !strings.Contains(next, "(LAG 0): kafka-consumer-groups.sh --bootstrap-server "+broker+" --describe --all-groups") {
		t.Errorf("the advice is %s", next)
	}
	pgtest.Eventually(t, 2*patience, "the sink is at the end", func() bool {
		lag, parts := f.lag(t)
		return lag == 0 && parts >= 3
	})
	if got := pgtest.QueryOne(t, s.target, "SELECT count(*) || ' ' || sum(n) FROM orders"); got != "500 2500" {
		t.Fatalf("with LAG 0 the target has %s", got)
	}
	f.forget(t, between(t, next, "echo ", "; then:"))
	launch(t, "capture", file.path)
	for range 5 {
		pgtest.Exec(t, s.source, "UPDATE orders SET n = n + 1")
	}
	f.settled([]string{"orders"}, livenessLimit)
	used := 0
	for range f.records(t) {
		used++
	}
	if used != 7 {
		t.Errorf("%d of 7 partitions have records", used)
	}
	f.surprises()
}

// forget runs what a stop prints for Kafka's console producer, as the shell reads
// it; in the tool's place, which is not in the broker's libraries, this process
// sends what the tool would have: a record without a value.
func (f *fleet) forget(t testing.TB, command string) {
	t.Helper()
	dir := t.TempDir()
	tool := "#!/bin/sh\nfor a in \"$@\"; do echo \"$a\"; done\nexec cat\n"
	if err := os.WriteFile(filepath.Join(dir, "kafka-console-producer.sh"), []byte(tool), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	topic := "entrain." + f.site.name + ".state"
	key := "topic/" + f.topic()
	want := []string{"--bootstrap-server", f.broker, "--topic", topic, "--property", "parse.key=true",
		"--property", "key.separator=|", "--property", "null.marker=NULL", key + "|NULL", ""}
	if got := strings.Split(string(out), "\n"); !slices.Equal(got, want) {
		t.Fatalf("the tool gets %q; want %q", got, want)
	}
	client := f.dialKafka()
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// lag is how much the sink's group has not read, of all partitions that it has an
// offset for: what Kafka's tool calls LAG.
func (f *fleet) lag(t testing.TB) (lag int64, parts int) {
	t.Helper()
	f.alter(func(ctx context.Context, adm *kadm.Client) error {
		ends, err := adm.ListCommittedOffsets(ctx, f.topic())
		if err != nil {
			return err
		}
		read, err := adm.FetchOffsets(ctx, f.site.name+".out")
		if errors.Is(err, kerr.CoordinatorNotAvailable) || errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.CoordinatorLoadInProgress) {
			lag = 1 // not known yet
			return nil
		}
		read.Each(func(o kadm.OffsetResponse) {
			end, _ := ends.Lookup(o.Topic, o.Partition)
			lag += end.Offset - o.At
			parts++
		})
		return err
	})
	return lag, parts
}

// stopped runs the program until it has ended with this stop, and returns what it
// says comes next.
func stopped(t testing.TB, code string, args ...string) string {
	t.Helper()
	p := launch(t, args...)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("no stop %s: %s", code, tail(p.stderr.String(), 2000))
	}
	_, text, found := strings.Cut(p.stderr.String(), "stopped ("+code+")")
	if !found {
		t.Fatalf("want the stop %s: %s", code, tail(p.stderr.String(), 2000))
	}
	_, next, _ := strings.Cut(text, "next: ")
	return strings.TrimSpace(next)
}

// between returns what stands between two texts.
func between(t testing.TB, text, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, from)
	got, _, ends := strings.Cut(rest, to)
	if !found || !ends {
		t.Fatalf("%q … %q is not in %q", from, to, text)
	}
	return from + got
}

// alter does something to the stream's topic.
func (f *fleet) alter(do func(ctx context.Context, adm *kadm.Client) error) {
	f.t.Helper()
	client := f.dialKafka()
	defer client.Close()
	if err := do(f.t.Context(), kadm.NewClient(client)); err != nil {
		f.t.Fatal(err)
	}
}

// edit replaces a text in the file.
func (f pipelineFile) edit(t testing.TB, from, to string) {
	t.Helper()
	text := readText(t, f.path)
	if !strings.Contains(text, from) {
		t.Fatalf("%q is not in %s", from, text)
	}
	if err := os.WriteFile(f.path, []byte(strings.Replace(text, from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
