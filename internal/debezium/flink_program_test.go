package debezium

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

// flinkVersion is the Flink whose format reads our topics; flinkList has its
// format for JSON with what that needs of its dependencies, as Maven resolves
// them. Both change together.
const flinkVersion = "2.2.0"

//go:embed flink/artifacts.txt
var flinkList string

// flink is what Changelog.java is run with.
type flink struct {
	java throwaway.Java
	libs string
}

func obtainFlink(t *testing.T) flink {
	t.Helper()
	return throwawaytest.Obtain(t, "Flink", func(ctx context.Context) (flink, error) {
		java, err := throwaway.FindJava(ctx, 17)
		if err != nil {
			return flink{}, fmt.Errorf("run Flink's format: %w", err)
		}
		cache, err := throwaway.CacheDir()
		if err != nil {
			return flink{}, err
		}
		jars, err := throwaway.Artifacts(flinkList)
		if err != nil {
			return flink{}, err
		}
		f := flink{java: java, libs: filepath.Join(cache, "flink", flinkVersion)}
		return f, throwaway.FillOnce(f.libs, func(dir string) error { return throwaway.DownloadAll(ctx, jars, dir) })
	})
}

// changelog is what Flink's format made of a topic.
type changelog struct {
	rows    []changedRow
	refused string // why it did not take the record after these
}

// changedRow is one line of what Changelog.java writes.
type changedRow struct {
	Kind     string
	Row      map[string]*string
	Metadata map[string]*string
	Error    string
}

// reading is a topic's values, in order, and the type that Flink's SQL gives
// its table; a value that is nil is a tombstone.
type reading struct {
	rowType string
	values  [][]byte
}

// changelogs gives each reading to the format.
func (f flink) changelogs(t *testing.T, all []reading) []changelog {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-cp", filepath.Join(f.libs, "*"), "flink/Changelog.java"}
	files := len(args)
	for i, r := range all {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(file, r.lines(), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.CommandContext(t.Context(), f.java.Path, args...).CombinedOutput(); err != nil {
		t.Fatalf("Flink's format: %v\n%s", err, out)
	}
	var logs []changelog
	for _, file := range args[files:] {
		text, err := os.ReadFile(file + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, parseChangelog(t, text))
	}
	return logs
}

// lines is what Changelog.java reads.
func (r reading) lines() []byte {
	out := append([]byte(r.rowType), '\n')
	for _, v := range r.values {
		if v == nil {
			out = append(out, '-')
		}
		out = append(base64.StdEncoding.AppendEncode(out, v), '\n')
	}
	return out
}

func parseChangelog(t *testing.T, text []byte) changelog {
	t.Helper()
	var out changelog
	for line := range bytes.Lines(text) {
		var row changedRow
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if row.Error != "" {
			out.refused = row.Error
			continue
		}
		out.rows = append(out.rows, row)
	}
	return out
}

// topicValues returns the values of a topic's committed records, in order; nil
// is a tombstone. Nobody may be writing to the topic.
func topicValues(t *testing.T, broker, topic string) [][]byte {
	t.Helper()
	end := decidedEnd(t, broker, topic)
	c, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DisableClientMetrics(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var values [][]byte
	for at := int64(0); at < end; {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, r.Value)
			}
		})
	}
	return values
}

// decidedEnd waits until no transaction of the topic's one partition is open,
// as the broker writes that it was committed after it said so, and returns the
// end of the partition.
func decidedEnd(t *testing.T, broker, topic string) int64 {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var end int64
	pgtest.Eventually(t, time.Minute, "all transactions in "+topic+" are decided", func() bool {
		committed, err := kadm.NewClient(c).ListCommittedOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		all, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		stable, ok := committed.Lookup(topic, 0)
		last, too := all.Lookup(topic, 0)
		if !ok || !too || stable.Err != nil || last.Err != nil {
			t.Fatalf("the topic %s: %v, %v", topic, stable.Err, last.Err)
		}
		end = last.Offset
		return stable.Offset == end
	})
	return end
}
