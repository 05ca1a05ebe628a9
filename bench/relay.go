package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// relay measures PostgreSQL → Kafka → PostgreSQL: Kafka Connect with Debezium's
// source and its JDBC sink in one worker, beside one entrain with Kafka as its
// stream. The peer's clock begins with the first row at the target, ours with
// the process; both end when the last change is there.
func relay(ctx context.Context, h *harness) error {
	return withKafka(ctx, h, func(k *kafkaWork) error { return k.relay(ctx) })
}

func (k *kafkaWork) relay(ctx context.Context) (err error) {
	libs, err := obtainConnect(ctx, k.h, k.install)
	if err != nil {
		return err
	}
	target, err := k.h.server(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Remove(ctx)) }()
	p, err := k.h.prepare(ctx, k.source, load{"pairs", k.h.scaled(200_000), "insert_and_update"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.discard(ctx)) }()
	theirs, err := openReplica(ctx, target, "relay_connect")
	if err != nil {
		return err
	}
	defer theirs.close(ctx)
	ours, err := openReplica(ctx, target, "relay_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	name := fmt.Sprintf("%d x (insert; update of another row) through Kafka into a table", p.count)
	k.h.say("%s", name)
	const peer = "Debezium + JDBC sink tuned"
	samples, err := alternate(ctx, k.h, k.h.opt.runs,
		contender{peer, func(ctx context.Context) (sample, error) {
			return k.relayed(ctx, p, theirs, func(ctx context.Context, slot, prefix string) (running, error) {
				c := connectWorker{libs: libs, java: k.install.java, atWork: func(ctx context.Context) bool {
					some, err := theirs.value(ctx, "SELECT EXISTS (SELECT FROM t)")
					return err == nil && some == "t"
				}}
				c.settings(k, p, relayEnds{slot: slot, prefix: prefix, target: theirs})
				return c.follow(ctx)
			})
		}},
		contender{"entrain", func(ctx context.Context) (sample, error) {
			return k.relayed(ctx, p, ours, func(ctx context.Context, slot, prefix string) (running, error) {
				stream := fmt.Sprintf("stream:\n%s\nsink:\n%s", indent(k.sink(prefix)), indent(ours.sink()))
				file, err := k.h.pipelineWith(entrainSource{url: k.source.URL(p.db), slot: slot, publication: kafkaPublication}.yaml(), stream)
				if err != nil {
					return running{}, err
				}
				proc := newProcess(ctx, k.h.bin, "run", file)
				return running{stop: proc.stop, watch: proc.watch}, proc.start()
			})
		}})
	if err != nil {
		return err
	}
	return k.h.add(compare(pairing{name, peer}, samples[1], samples[0], limits{}))
}

// lastChange is what the load's last update left: that row and the last one
// that was inserted.
const lastChange = `SELECT string_agg(t::text, ' ' ORDER BY id) FROM t
	WHERE id IN (%[1]d, 1 + (%[1]d::bigint * 611953 %% 1299709) %% greatest(%[1]d - 1, 1))`

// relayed measures one run: begin starts a contender and returns when its clock
// is to begin.
func (k *kafkaWork) relayed(ctx context.Context, p *prepared, into *replica, begin func(ctx context.Context, slot, prefix string) (running, error)) (s sample, err error) {
	if err := into.empty(ctx); err != nil {
		return sample{}, err
	}
	slot, err := p.copySlot(ctx)
	if err != nil {
		return sample{}, err
	}
	last := fmt.Sprintf(lastChange, p.count)
	want, err := p.value(ctx, last)
	if err != nil {
		return sample{}, err
	}
	contender, err := begin(ctx, slot, k.topics.prefix())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	during := ctx
	if contender.watch != nil {
		var cancel context.CancelFunc
		during, cancel = contender.watch(ctx)
		defer cancel()
	}
	err = into.await(during, applyTimeout, fmt.Sprintf("SELECT coalesce((%s) = '%s', false)", last, strings.ReplaceAll(want, "'", "''")))
	wall := time.Since(began)
	s, stopErr := contender.stop(ctx)
	s.wall = wall
	return s, errors.Join(err, stopErr, p.dropSlot(ctx, slot), sameRows(ctx, p.session, into.session))
}

// connectList is what Kafka Connect and Debezium's source run with, as Maven
// resolves connect-runtime, connect-json, debezium-connector-postgres and
// slf4j-simple: checksum and path.
//
//go:embed connect.txt
var connectList string

// fromServer are the libraries of the JDBC sink, which Maven Central does not
// have all by themselves: they are in the archive of Debezium Server.
var fromServer = []string{
	"agroal", "antlr4-runtime", "byte-buddy", "classmate", "hibernate", "jakarta.persistence", "jakarta.transaction",
	"jaxb-runtime", "istack", "jboss-logging", "parsson", "debezium-sink", "debezium-connector-jdbc",
}

// obtainConnect returns the folder with the libraries of a Connect worker.
func obtainConnect(ctx context.Context, h *harness, server debeziumInstall) (string, error) {
	cache, err := throwaway.CacheDir()
	if err != nil {
		return "", err
	}
	jars, err := throwaway.Artifacts(connectList)
	if err != nil {
		return "", err
	}
	libs := filepath.Join(cache, "connect", debeziumVersion)
	err = throwaway.FillOnce(libs, func(dir string) error {
		h.say("fetching Kafka Connect into the cache")
		if err := throwaway.DownloadAll(ctx, jars, dir); err != nil {
			return err
		}
		return linkFrom(server, dir)
	})
	if err != nil {
		return "", fmt.Errorf("fetch the peer Kafka Connect: %w", err)
	}
	return libs, nil
}

// linkFrom puts the JDBC sink's libraries into dir.
func linkFrom(server debeziumInstall, dir string) error {
	for _, name := range fromServer {
		found, err := filepath.Glob(filepath.Join(server.dir, "lib", name+"*.jar"))
		if err != nil {
			return err
		}
		for _, jar := range found {
			if err := os.Symlink(jar, filepath.Join(dir, filepath.Base(jar))); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// connectWorker is one run of a Connect worker with both connectors.
type connectWorker struct {
	libs   string
	java   throwaway.Java
	atWork func(context.Context) bool

	worker, source, sink string // property files
}

// relayEnds are what a run reads and writes.
type relayEnds struct {
	slot, prefix string
	target       *replica
}

// settings fills in the property files: both connectors tuned, records with the
// schemas that the JDBC sink cannot do without.
func (c *connectWorker) settings(k *kafkaWork, p *prepared, ends relayEnds) {
	c.worker = `bootstrap.servers=` + k.topics.server.Addr() + `
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=true
value.converter.schemas.enable=true
offset.storage.file.filename=offsets
offset.flush.interval.ms=1000
plugin.discovery=service_load
`
	c.source = fmt.Sprintf(`name=src
connector.class=io.debezium.connector.postgresql.PostgresConnector
tasks.max=1
database.hostname=127.0.0.1
database.port=%d
database.user=postgres
database.password=none
database.dbname=%s
topic.prefix=%s
plugin.name=pgoutput
slot.name=%s
publication.name=%s
publication.autocreate.mode=disabled
snapshot.mode=no_data
table.include.list=public.t
max.batch.size=16384
max.queue.size=65536
poll.interval.ms=5
statistics.metrics.enabled=false
producer.override.compression.type=lz4
producer.override.linger.ms=5
producer.override.batch.size=524288
producer.override.buffer.memory=134217728
`, k.source.Port(), p.db, ends.prefix, ends.slot, kafkaPublication)
	c.sink = fmt.Sprintf(`name=snk-%[1]s
connector.class=io.debezium.connector.jdbc.JdbcSinkConnector
tasks.max=1
topics=%[1]s.public.t
connection.url=jdbc:postgresql://%[2]s/%[3]s?reWriteBatchedInserts=true
connection.username=postgres
connection.password=none
insert.mode=upsert
delete.enabled=true
primary.key.mode=record_key
schema.evolution=none
collection.name.format=t
batch.size=5000
use.reduction.buffer=true
consumer.override.auto.offset.reset=earliest
consumer.override.max.poll.records=5000
consumer.override.fetch.min.bytes=1048576
consumer.override.fetch.max.wait.ms=50
consumer.override.max.partition.fetch.bytes=33554432
`, ends.prefix, ends.target.server.Addr(), ends.target.db)
}

// follow starts the worker and returns when it is at work.
func (c *connectWorker) follow(ctx context.Context) (running, error) {
	srv, err := throwaway.Start(ctx, c, throwaway.Config{
		Name: "Kafka Connect", Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "Address already in use",
	})
	if err != nil {
		return running{}, err
	}
	used := startUse(srv)
	return running{stop: func(ctx context.Context) (sample, error) {
		s, err := used.stop()
		return s, errors.Join(err, srv.Remove(ctx))
	}}, nil
}

// Prepare has nothing to do: the settings depend on the port.
func (c *connectWorker) Prepare(context.Context, string) error { return nil }

// Command writes the settings; the port is that of the worker's interface.
func (c *connectWorker) Command(dir string, port int) ([]string, error) {
	argv := []string{
		c.java.Path, "-Xmx" + debeziumHeap, "-Djava.io.tmpdir=" + dir, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(c.libs, "*"), "org.apache.kafka.connect.cli.ConnectStandalone",
	}
	for name, text := range map[string]string{
		"1-worker": c.worker + fmt.Sprintf("listeners=http://127.0.0.1:%d\n", port), "2-source": c.source, "3-sink": c.sink,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return append(argv, filepath.Join(dir, "1-worker"), filepath.Join(dir, "2-source"), filepath.Join(dir, "3-sink")), nil
}

// Ready reports whether it is at work.
func (c *connectWorker) Ready(ctx context.Context, _ throwaway.Look) bool { return c.atWork(ctx) }
