package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/kafkaserver"
)

// topics are the broker, with a client for what is not measured.
type topics struct {
	server *kafkaserver.Server
	client *kgo.Client
	admin  *kadm.Client
	made   int
}

// benchJVM are the options of the broker's Java: those of a small production
// broker, not the ones that start fast.
var benchJVM = []string{"-Xms512m", "-Xmx512m", "-XX:+UseG1GC"}

func startBroker(ctx context.Context) (*topics, error) {
	install, err := kafkaserver.Obtain(ctx)
	if err != nil {
		return nil, err
	}
	srv, err := kafkaserver.Start(ctx, kafkaserver.Config{
		Install: install, JVM: benchJVM, Settings: map[string]string{"broker.session.timeout.ms": "9000"},
	})
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(srv.Addr()))
	if err != nil {
		return nil, errors.Join(err, srv.Remove(ctx))
	}
	return &topics{server: srv, client: client, admin: kadm.NewClient(client)}, nil
}

func (t *topics) remove(ctx context.Context) error {
	t.client.Close()
	return t.server.Remove(ctx)
}

// prefix returns a new word for the names of topics.
func (t *topics) prefix() string {
	t.made++
	return fmt.Sprintf("bench%d", t.made)
}

// create makes a topic of one partition, which Debezium would make itself
// else, while the clock runs.
func (t *topics) create(ctx context.Context, topic string) error {
	_, err := t.admin.CreateTopic(ctx, 1, 1, nil, topic)
	return err
}

func (t *topics) drop(ctx context.Context, topic string) error {
	_, err := t.admin.DeleteTopic(ctx, topic)
	return err
}

// end returns the offset behind the topic's last record.
func (t *topics) end(ctx context.Context, topic string) (int64, error) {
	offsets, err := t.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	end, ok := offsets.Lookup(topic, 0)
	if !ok {
		return 0, fmt.Errorf("topic %s has no partition 0", topic)
	}
	return end.Offset, end.Err
}

// watchTopic is how often the end of a topic is looked at while the clock runs.
const watchTopic = 20 * time.Millisecond

// reach waits until the topic's end is at offset n, as long as alive.
func (t *topics) reach(ctx context.Context, topic string, n int64, alive func() bool) error {
	tick := time.NewTicker(watchTopic)
	defer tick.Stop()
	for {
		end, err := t.end(ctx, topic)
		switch {
		case err != nil:
			return err
		case end >= n:
			return nil
		case !alive():
			return fmt.Errorf("%w: %d of %d records", errEnded, end, n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rowMark is before the key of a row, in our format and in Debezium's.
var rowMark = []byte(`"after":{"id":`)

// rowID returns the key of the row that a record has, and false for a record
// of something else.
func rowID(value []byte) (int64, bool) {
	_, after, ok := bytes.Cut(value, rowMark)
	if !ok {
		return 0, false
	}
	end := bytes.IndexAny(after, ",}")
	if end < 0 {
		return 0, false
	}
	id, err := strconv.ParseInt(string(bytes.Trim(after[:end], `"`)), 10, 64)
	return id, err == nil
}

var errCount = errors.New("the topic has not each row once")

// verify reads what is committed in the topic: each row from 1 to n must be
// there, once.
func (t *topics) verify(ctx context.Context, topic string, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	end, err := t.end(ctx, topic)
	if err != nil {
		return err
	}
	consumer, err := t.consumer(topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer consumer.Close()
	seen, doubles, strangers := make([]bool, n+1), 0, 0
	var read, rows int64
	for read < end {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read = r.Offset + 1
			id, ok := rowID(r.Value)
			switch {
			case !ok:
			case id < 1 || id > n:
				strangers++
			case seen[id]:
				doubles++
			default:
				seen[id] = true
				rows++
			}
		})
	}
	if rows != n || doubles > 0 || strangers > 0 {
		return fmt.Errorf("%w: %d of %d rows, %d doubles, %d of other keys", errCount, rows, n, doubles, strangers)
	}
	return nil
}

// consumer reads a topic from its beginning.
func (t *topics) consumer(topic string, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(t.server.Addr()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, more...)...)
}
