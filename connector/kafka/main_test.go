package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
)

func TestMain(m *testing.M) {
	if id := os.Getenv(childEnv); id != "" {
		child(id)
		return
	}
	pgtest.Main(m, func() error { return errors.Join(kafkatest.Remove(), registrytest.Remove()) })
}

// broker returns the address of a real broker.
func broker(t testing.TB) string {
	t.Helper()
	return kafkatest.Start(t).Addr()
}

var names atomic.Int64

// unique returns a name that no other test has, nor an earlier run.
func unique() string {
	return fmt.Sprintf("t%d-%d-%d", time.Now().UnixNano(), os.Getpid(), names.Add(1))
}

// consumer reads committed records of a topic from its beginning.
func consumer(t testing.TB, address, topic string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50 * time.Millisecond), kgo.DisableClientMetrics(),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// records returns what a topic has now, by partition and offset. Control records
// end it: the end is what the broker says it is.
func records(t testing.TB, address, topic string) []*kgo.Record {
	t.Helper()
	ends := stableEnds(t, address, topic)
	if len(ends) == 0 {
		return nil
	}
	parts := map[int32]kgo.Offset{}
	for p := range ends {
		parts[p] = kgo.NewOffset().AtStart()
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: parts}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond), kgo.KeepControlRecords(), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []*kgo.Record
	for len(ends) > 0 {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}

// wantStop fails unless err is a stop with the code.
func wantStop(t testing.TB, err error, code string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !asStop(err, &stop) || stop.Code != code {
		t.Fatalf("got %v, want the stop %s", err, code)
	}
	for name, text := range map[string]string{"What": stop.What, "Why": stop.Why, "Next": stop.Next} {
		if strings.TrimSpace(text) == "" {
			t.Errorf("the stop %s has no %s", code, name)
		}
	}
	return stop
}
