package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// kafkaPublication has the one table whose rows are counted.
const kafkaPublication = "p_t"

// kafkaWork is what the works with Kafka share: a source, a broker, the peer.
type kafkaWork struct {
	h       *harness
	source  *pgserver.Server
	topics  *topics
	install debeziumInstall
}

// kafka measures PostgreSQL → Kafka, native JSON, lz4, exactly once, beside
// Debezium Server into the same broker. The peer's clock runs from when it uses
// its slot, since its start takes seconds, to when all records are there; ours
// from the process's start to its exit. Its processor time is that of the same
// stretch. After each run every row is looked for in the topic.
func kafka(ctx context.Context, h *harness) error {
	return withKafka(ctx, h, func(k *kafkaWork) error {
		small := load{"one_row", h.scaled(600_000), "insert_rows"}
		if err := k.stream(ctx, small, "one-row transactions", limits{rate: 2.8, cpu: 0.2, rss: 0.125}); err != nil {
			return err
		}
		big := load{"one_transaction", h.opt.rows, "insert_at_once"}
		if err := k.stream(ctx, big, "rows of one transaction", limits{rate: 4, cpu: 0.167, rss: 0.125}); err != nil {
			return err
		}
		return k.latency(ctx)
	})
}

// withKafka starts what the works with Kafka share, does the work and removes
// it.
func withKafka(ctx context.Context, h *harness, work func(*kafkaWork) error) (err error) {
	var install debeziumInstall
	if !h.opt.own {
		if install, err = obtainDebezium(ctx, h); err != nil {
			return err
		}
	}
	source, err := h.server(ctx, map[string]string{"track_commit_timestamp": "on"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx)) }()
	broker, err := startBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.remove(ctx)) }()
	return work(&kafkaWork{h, source, broker, install})
}

const (
	tunedPeer   = "Debezium Server tuned"
	defaultPeer = "Debezium Server default"
)

// defaultRuns bounds the runs of the peer with its defaults, which take minutes.
const defaultPeerRuns = 2

// stream measures one load, and the snapshot of its table.
func (k *kafkaWork) stream(ctx context.Context, l load, unit string, want limits) (err error) {
	p, err := k.h.prepare(ctx, k.source, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.discard(ctx)) }()
	name := fmt.Sprintf("%d %s to Kafka", l.count, unit)
	k.h.say("%s", name)
	peer, err := recvlogical(k.h)
	if err != nil {
		return err
	}
	decode := decodeWork{load: l, peer: peer}.entrain(k.h, p, entrainSource{url: k.source.URL(p.db)})
	decode.name = devNull
	if k.h.opt.own {
		return k.floor(ctx, name, k.ours(p), decode)
	}
	samples, err := alternate(ctx, k.h, k.h.opt.runs, k.peer(p, tunedPeer), k.ours(p), decode)
	if err != nil {
		return err
	}
	slow, err := alternate(ctx, k.h, min(defaultPeerRuns, k.h.opt.runs), k.peer(p, defaultPeer))
	if err != nil {
		return err
	}
	err = errors.Join(
		k.h.add(compare(pairing{name, tunedPeer}, samples[1], samples[0], want)),
		k.h.add(compare(pairing{name + ", defaults", defaultPeer}, samples[1], slow[0], limits{rate: 9})),
		k.h.add(compare(pairing{name, devNull}, samples[1], samples[2], nullLimits)))
	if err != nil || l.db != "one_transaction" {
		return err
	}
	return k.snapshot(ctx, p)
}

// devNull is our own decoding of the same log.
const devNull = "entrain to /dev/null"

// nullLimits is what is to be reached beside it.
var nullLimits = limits{rate: 0.75}

// floor measures a load without the peer.
func (k *kafkaWork) floor(ctx context.Context, name string, ours, decode contender) error {
	samples, err := alternate(ctx, k.h, k.h.opt.runs, ours, decode)
	if err != nil {
		return err
	}
	return k.h.add(compare(pairing{name, devNull}, samples[0], samples[1], nullLimits))
}

// settings of the peer for a slot, by its name as a contender.
func (k *kafkaWork) settings(name, db string) map[string]string {
	all := maps.Clone(debeziumDefaults)
	if name == tunedPeer {
		maps.Copy(all, debeziumTuned)
	}
	all["debezium.source.database.port"] = fmt.Sprint(k.source.Port())
	all["debezium.source.database.dbname"] = db
	all["debezium.sink.kafka.producer.bootstrap.servers"] = k.topics.server.Addr()
	return all
}

// peer is Debezium Server on the load's log.
func (k *kafkaWork) peer(p *prepared, name string) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		slot, err := p.copySlot(ctx)
		if err != nil {
			return sample{}, err
		}
		prefix := k.topics.prefix()
		all := k.settings(name, p.db)
		all["debezium.source.slot.name"], all["debezium.source.topic.prefix"] = slot, prefix
		s, err := k.runPeer(ctx, peerRun{settings: all, topic: prefix + ".public.t", rows: p.count, atWork: p.active(slot)})
		return s, errors.Join(err, p.dropSlot(ctx, slot))
	}}
}

// active returns whether the slot is in use.
func (p *prepared) active(slot string) func(context.Context, *kafkaWork) bool {
	return func(ctx context.Context, _ *kafkaWork) bool {
		yes, err := p.value(ctx, fmt.Sprintf("SELECT active FROM pg_replication_slots WHERE slot_name = '%s'", slot))
		return err == nil && yes == "t"
	}
}

// peerRun is one run of the peer into a topic of its own.
type peerRun struct {
	settings map[string]string
	topic    string
	rows     int64
	atWork   func(context.Context, *kafkaWork) bool
}

// runPeer starts the peer and measures it from when it is at work until the
// topic has all rows.
func (k *kafkaWork) runPeer(ctx context.Context, r peerRun) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	if err := k.topics.create(ctx, r.topic); err != nil {
		return sample{}, err
	}
	d := debezium{k.install, r.settings, func(ctx context.Context) bool { return r.atWork(ctx, k) }}
	srv, err := d.start(ctx)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, srv.Remove(ctx)) }()
	used := startUse(srv)
	if err := k.topics.reach(ctx, r.topic, r.rows, func() bool { return srv.Pid() != 0 }); err != nil {
		return sample{}, fmt.Errorf("%w; its log ends:\n%s", err, srv.Log())
	}
	if s, err = used.stop(); err != nil {
		return sample{}, err
	}
	return s, errors.Join(k.topics.verify(ctx, r.topic, r.rows), k.topics.drop(ctx, r.topic))
}

// use is what a server uses from one moment to another.
type use struct {
	pid    int
	began  time.Time
	before times
	err    error
}

func startUse(srv *throwaway.Server) use {
	u := use{pid: srv.Pid(), began: time.Now()}
	u.before, u.err = readTimes(u.pid)
	return u
}

// stop returns what was used; the memory is the most since the process began.
func (u use) stop() (sample, error) {
	wall := time.Since(u.began)
	after, err := readTimes(u.pid)
	return sample{wall: wall, cpu: after.self - u.before.self, rss: residentPeak(u.pid)}, errors.Join(u.err, err)
}

// sink is the sink section of a pipeline file into a topic, with all defaults.
func (k *kafkaWork) sink(topic string) string {
	return fmt.Sprintf("type: kafka\nbrokers: [%q]\ntopic: %s", k.topics.server.Addr(), topic)
}

// ours is entrain on the load's log.
func (k *kafkaWork) ours(p *prepared) contender {
	return contender{"entrain", func(ctx context.Context) (sample, error) {
		return k.into(ctx, p, func(topic string) string { return "sink:\n" + indent(k.sink(topic)) })
	}}
}

// into is one run of entrain into a topic of its own; sections are those of its file
// behind the source's.
func (k *kafkaWork) into(ctx context.Context, p *prepared, sections func(topic string) string) (sample, error) {
	slot, err := p.copySlot(ctx)
	if err != nil {
		return sample{}, err
	}
	topic := k.topics.prefix()
	if err := k.topics.create(ctx, topic); err != nil {
		return sample{}, err
	}
	source := entrainSource{url: k.source.URL(p.db), slot: slot, publication: kafkaPublication}
	file, err := k.h.pipelineWith(source.yaml(), sections(topic))
	if err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, k.h.bin, "run", file, "--until", p.end)
	if err = errors.Join(err, p.dropSlot(ctx, slot)); err != nil {
		return sample{}, err
	}
	return s, errors.Join(k.topics.verify(ctx, topic, p.count), k.topics.drop(ctx, topic))
}

// snapshot measures the copying of the rows that the table has. The peer's
// clock begins with its first record.
func (k *kafkaWork) snapshot(ctx context.Context, p *prepared) error {
	name := fmt.Sprintf("snapshot %d rows to Kafka", p.count)
	k.h.say("%s", name)
	samples, err := alternate(ctx, k.h, k.h.opt.runs, contender{tunedPeer, func(ctx context.Context) (sample, error) {
		slot, err := p.copySlot(ctx)
		if err != nil {
			return sample{}, err
		}
		prefix := k.topics.prefix()
		topic := prefix + ".public.t"
		all := k.settings(tunedPeer, p.db)
		all["debezium.source.slot.name"], all["debezium.source.topic.prefix"] = slot, prefix
		all["debezium.source.snapshot.mode"] = "initial_only"
		s, err := k.runPeer(ctx, peerRun{settings: all, topic: topic, rows: p.count, atWork: func(ctx context.Context, k *kafkaWork) bool {
			end, err := k.topics.end(ctx, topic)
			return err == nil && end > 0
		}})
		return s, errors.Join(err, p.dropSlot(ctx, slot))
	}}, contender{"entrain", func(ctx context.Context) (sample, error) { return k.copyOurs(ctx, p) }})
	if err != nil {
		return err
	}
	return k.h.add(compare(pairing{name, tunedPeer}, samples[1], samples[0], limits{rate: 6}))
}

func (k *kafkaWork) copyOurs(ctx context.Context, p *prepared) (sample, error) {
	topic := k.topics.prefix()
	if err := k.topics.create(ctx, topic); err != nil {
		return sample{}, err
	}
	c := &copies{h: k.h, source: k.source}
	file, err := c.pipeline(p.db, kafkaPublication, "mode: only", fmt.Sprintf("type: kafka, brokers: [%q], topic: %s", k.topics.server.Addr(), topic))
	if err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, k.h.bin, "run", file)
	if err != nil {
		return sample{}, err
	}
	return s, errors.Join(k.topics.verify(ctx, topic, p.count), k.topics.drop(ctx, topic))
}
