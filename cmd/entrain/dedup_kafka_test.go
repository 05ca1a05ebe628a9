package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

const toPlainKafka = `
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: kafka, brokers: ["BROKER"], exactly_once: false, topic: TOPIC}
state: {dir: DIR/state}
deduplication: {url: 'redis://REDIS'}
`

// TestDedupIntoKafka: a process writes to a topic without transactions and is killed
// again and again. What it was writing then is read back, so that nothing is there
// twice, and nothing is lost.
func TestDedupIntoKafka(t *testing.T) {
	url, broker, topic := shop(t), kafkatest.Start(t).Addr(), fmt.Sprintf("t%d", time.Now().UnixNano())
	c, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseAllowingRebalance()
	if _, err := kadm.NewClient(c).CreateTopic(t.Context(), 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, strings.NewReplacer("BROKER", broker, "TOPIC", topic, "REDIS", redistest.Start(t).Addr()).Replace(toPlainKafka))
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	const rounds, each = 8, 2000
	for n := range rounds {
		p := launch(t, url, "run", file)
		p.until(t, file, "streaming", streams)
		for i := range each / 100 {
			order(t, url, each*n+100*i+1, each*n+100*i+100)
		}
		<-time.After(time.Duration(n) * time.Millisecond)
		p.signal(t, syscall.SIGKILL)
		p.exit(t, -1)
	}
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	ends, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	all := int64(0)
	ends.Each(func(o kadm.ListedOffset) { all += o.Offset })
	ids, read := map[string]int{}, int64(0)
	for read < all {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			ids[string(r.Headers[0].Value)]++
		})
	}
	if len(ids) != rounds*each || read != rounds*each {
		t.Errorf("%d changes of %d are there, and %d doubles", len(ids), rounds*each, read-int64(len(ids)))
	}
}
