package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// latency measures the time from the commit at the source to a consumer of the
// topic, one that reads what is not committed there and, for ours, one that
// waits for it.
func (k *kafkaWork) latency(ctx context.Context) error {
	l, err := openLive(ctx, k.h, k.source)
	if err != nil {
		return err
	}
	defer l.close(ctx)
	observer, err := connect(ctx, k.source.URL(liveDB), nil)
	if err != nil {
		return err
	}
	defer observer.close(ctx)
	var theirs, mine, committed spread
	k.h.say("latency to a consumer: %d one-row transactions a second for %d s", liveRate, k.h.opt.seconds)
	contenders := []contender{
		{"entrain (p50)", func(ctx context.Context) (sample, error) {
			got, err := k.live(ctx, l, k.followOurs)
			committed.add(k.h, got.used, got.committed)
			return mine.add(k.h, got.used, got.seen), err
		}},
		{tunedPeer + " (p50)", func(ctx context.Context) (sample, error) {
			got, err := k.live(ctx, l, func(ctx context.Context, slot, prefix string) (running, error) {
				return k.followPeer(ctx, observer, slot, prefix)
			})
			return theirs.add(k.h, got.used, got.seen), err
		}},
	}
	if k.h.opt.own {
		contenders = contenders[:1]
	}
	if _, err = alternate(ctx, k.h, k.h.opt.runs, contenders...); err != nil {
		return err
	}
	if k.h.opt.own {
		return k.h.add(compare(pairing{"latency p50 to a consumer, 1000 transactions a second", "read_committed"}, mine.p50, committed.p50, limits{}))
	}
	const work = "latency %s to a consumer, 1000 transactions a second"
	return errors.Join(
		k.h.add(compare(pairing{fmt.Sprintf(work, "p50"), tunedPeer}, mine.p50, theirs.p50, limits{time: 0.333})),
		k.h.add(compare(pairing{fmt.Sprintf(work, "p95"), tunedPeer}, mine.p95, theirs.p95, limits{})),
		k.h.add(compare(pairing{fmt.Sprintf(work, "p99"), tunedPeer}, mine.p99, theirs.p99, limits{time: 0.5})),
		k.h.add(compare(pairing{fmt.Sprintf(work, "p50") + ", read_committed", tunedPeer}, committed.p50, theirs.p50, limits{})),
		k.h.add(compare(pairing{fmt.Sprintf(work, "p99") + ", read_committed", tunedPeer}, committed.p99, theirs.p99, limits{})),
	)
}

// arrivals are the latencies of one run and what the contender used.
type arrivals struct {
	used            sample
	seen, committed []time.Duration
}

// live runs one contender under the load: begin starts it, for a slot and a
// word to name its topic by.
func (k *kafkaWork) live(ctx context.Context, l *live, begin func(ctx context.Context, slot, prefix string) (running, error)) (a arrivals, err error) {
	l.slots++
	slot, prefix := fmt.Sprintf("live_%d", l.slots), k.topics.prefix()
	topic := prefix + ".public.t"
	err = l.exec(ctx, "TRUNCATE t, finished", "CHECKPOINT",
		fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", slot))
	if err = errors.Join(err, k.topics.create(ctx, topic)); err != nil {
		return a, err
	}
	seen, err := k.listen(ctx, topic, kgo.ReadUncommitted())
	if err != nil {
		return a, err
	}
	defer seen.stop()
	committed, err := k.listen(ctx, topic, kgo.ReadCommitted())
	if err != nil {
		return a, err
	}
	defer committed.stop()
	contender, err := begin(ctx, slot, prefix)
	if err != nil {
		return a, err
	}
	err = k.loadLive(ctx, l, seen, committed)
	var stopErr error
	a.used, stopErr = contender.stop(ctx)
	if err = errors.Join(err, stopErr, l.dropSlot(ctx, slot)); err != nil {
		return a, err
	}
	commits, err := l.commitTimes(ctx)
	if err != nil {
		return a, err
	}
	a.seen, err = seen.since(commits)
	if err == nil {
		a.committed, err = committed.since(commits)
	}
	return a, errors.Join(err, k.topics.drop(ctx, topic))
}

// loadLive commits the warm-up and, once that has arrived, what counts.
func (k *kafkaWork) loadLive(ctx context.Context, l *live, listeners ...*listener) error {
	n := k.h.opt.seconds * liveRate
	for _, part := range []struct{ first, n, all int }{{-warmUp, warmUp, warmUp}, {1, n, warmUp + n}} {
		if err := l.commit(ctx, part.first, part.n); err != nil {
			return err
		}
		for _, c := range listeners {
			if err := c.await(ctx, part.all); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitTimes returns when each row that counts was committed.
func (l *live) commitTimes(ctx context.Context) (map[int64]time.Time, error) {
	rows, err := l.rows(ctx, "SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM t WHERE id > 0")
	if err != nil {
		return nil, err
	}
	at := make(map[int64]time.Time, len(rows))
	for _, row := range rows {
		id, err1 := strconv.ParseInt(row[0], 10, 64)
		micros, err2 := strconv.ParseInt(row[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("commit time of row %s: %w", row[0], err)
		}
		at[id] = time.UnixMicro(micros)
	}
	return at, nil
}

// listener consumes a topic and notes when each row came.
type listener struct {
	client *kgo.Client
	ended  chan struct{}

	mu      sync.Mutex
	at      map[int64]time.Time
	doubles int
	err     error
}

func (k *kafkaWork) listen(ctx context.Context, topic string, level kgo.IsolationLevel) (*listener, error) {
	client, err := k.topics.consumer(topic, kgo.FetchIsolationLevel(level))
	if err != nil {
		return nil, err
	}
	c := &listener{client: client, ended: make(chan struct{}), at: map[int64]time.Time{}}
	go func() {
		defer close(c.ended)
		for c.take(client.PollFetches(ctx)) {
		}
	}()
	return c, nil
}

// take notes the rows of a fetch, and returns false at the end.
func (c *listener) take(fetches kgo.Fetches) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if fetches.IsClientClosed() {
		return false
	}
	if c.err = fetches.Err(); c.err != nil {
		return false
	}
	fetches.EachRecord(func(r *kgo.Record) {
		id, ok := rowID(r.Value)
		if _, known := c.at[id]; ok && known {
			c.doubles++
		} else if ok {
			c.at[id] = now
		}
	})
	return true
}

func (c *listener) stop() {
	c.client.Close()
	<-c.ended
}

// await waits until n rows have come.
func (c *listener) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	var came int
	var failed error
	err := throwaway.Until(ctx, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		came, failed = len(c.at), c.err
		return came >= n || failed != nil
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("%d of %d rows came: %w", came, n, err)
	}
	return nil
}

// since returns how long after its commit each row came; each must have come
// once.
func (c *listener) since(commits map[int64]time.Time) ([]time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doubles > 0 || len(c.at) != len(commits)+warmUp {
		return nil, fmt.Errorf("%w: %d of %d rows, %d doubles", errCount, len(c.at)-warmUp, len(commits), c.doubles)
	}
	var all []time.Duration
	for id, at := range commits {
		came, ok := c.at[id]
		if !ok {
			return nil, fmt.Errorf("%w: row %d did not come", errCount, id)
		}
		all = append(all, came.Sub(at))
	}
	slices.Sort(all)
	return all, nil
}

// followPeer starts the peer and returns when it uses the slot.
func (k *kafkaWork) followPeer(ctx context.Context, observer *session, slot, prefix string) (running, error) {
	all := k.settings(tunedPeer, liveDB)
	all["debezium.source.slot.name"], all["debezium.source.topic.prefix"] = slot, prefix
	watch := prepared{session: observer}
	atWork := watch.active(slot)
	srv, err := debezium{k.install, all, func(ctx context.Context) bool { return atWork(ctx, k) }}.start(ctx)
	if err != nil {
		return running{}, err
	}
	used := startUse(srv)
	return running{stop: func(ctx context.Context) (sample, error) {
		s, err := used.stop()
		return s, errors.Join(err, srv.Remove(ctx))
	}}, nil
}

// followOurs starts entrain.
func (k *kafkaWork) followOurs(ctx context.Context, slot, prefix string) (running, error) {
	source := entrainSource{url: k.source.URL(liveDB), slot: slot, publication: kafkaPublication}
	file, err := k.h.pipelineFile(source.yaml(), k.sink(prefix+".public.t"))
	if err != nil {
		return running{}, err
	}
	p := newProcess(ctx, k.h.bin, "run", file)
	if err := p.start(); err != nil {
		return running{}, err
	}
	return running{stop: p.stop}, nil
}
