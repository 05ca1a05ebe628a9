package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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
	load := busy(t, url)
	kills := 0
	for done := false; !done; kills++ {
		p := launch(t, url, "run", file)
		p.until(t, file, "streaming", streams)
		select {
		case err := <-load:
			if done = true; err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Duration(100+37*(kills%9)) * time.Millisecond):
		}
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
	t.Logf("%d kills, %d changes, %d doubles", kills, len(ids), read-int64(len(ids)))
	if len(ids) != commits*perCommit || read != commits*perCommit || kills < 3 {
		t.Errorf("%d changes of %d are there, and %d doubles, after %d kills", len(ids), commits*perCommit, read-int64(len(ids)), kills)
	}
}

const commits, perCommit = 500, 20

// busy makes commits at the source one after the other, and sends what became of it.
func busy(t *testing.T, url string) <-chan error {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		sql := fmt.Sprintf("DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO orders SELECT i * 100 + j, 'x' FROM generate_series(1, %d) j; COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$", commits, perCommit)
		_, err := conn.Exec(context.Background(), sql).ReadAll()
		ended <- errors.Join(err, conn.Close(context.Background()))
	}()
	return ended
}
