// Package kafka writes changes to topics of Kafka and reads them back.
//
// The [Sink] is exactly once for consumers that read committed records: the
// events of whole source transactions, and the position behind them, are one
// transaction of Kafka's (P2, P4). The position is in a compacted topic beside.
// Who opens the same producer anew fences the one before, so that a process
// that was thought dead writes nothing more. docs/kafka.md describes topics,
// records and stops.
package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/registry"
)

// Sink writes to the topics of one cluster. It is safe for several goroutines,
// its writers are not.
type Sink struct {
	production
	shape shape
}

// shape is how events become records.
type shape struct {
	topic      string // pattern
	messages   string // pattern
	format     string
	options    encoding.Options
	tombstones bool
	// registry is where schemas of the records are; nil for formats without any.
	registry *registry.Config
	// log: the records are read back by us. Nothing may be lost then: what the
	// format does not have is in headers, and what all partitions must know goes to
	// all of them.
	log bool
}

// NewSink checks the configuration; it does not dial. The transactional id has
// no default here: see [Spec].
func NewSink(cfg SinkConfig) (*Sink, error) {
	s := &Sink{
		production: production{
			server: server{tls: cfg.TLS, sasl: cfg.SASL},
			create: orTrue(cfg.Create), partitions: cfg.Partitions, replication: cfg.ReplicationFactor, retention: cfg.Retention,
			compression: cfg.Compression, partitioner: cfg.Partitioner, linger: cfg.Linger,
			exactly: orTrue(cfg.ExactlyOnce), transactionalID: cfg.TransactionalID, transactionTimout: cfg.TransactionTimeout,
			outage: &outage{log: slog.New(slog.DiscardHandler)},
		},
		shape: shape{
			topic: cmp.Or(cfg.Topic, defaultTopic), messages: cfg.MessageTopic, format: cmp.Or(cfg.Format, "native"),
			options: encoding.Options{Debezium: cfg.Debezium, CloudEvents: cfg.CloudEvents}, tombstones: orTrue(cfg.Tombstones),
		},
	}
	limit, err := messageBytes(cfg.MaxMessageBytes)
	if err == nil {
		s.maxMessage = limit
		err = errors.Join(s.parse(cfg.Brokers, cfg.URL), s.production.check(), s.shape.check(cfg), choose("acks", &cfg.Acks, []string{"all"}))
	}
	if err != nil {
		return nil, fmt.Errorf("kafka sink: %w", err)
	}
	return s, nil
}

// check completes and checks what is said of the records.
func (s *shape) check(cfg SinkConfig) error {
	if err := s.checkFormat(cfg.SchemaRegistry); err != nil {
		return err
	}
	if s.format == "debezium" && (cfg.Topic != "" || cfg.MessageTopic != "" || cfg.Tombstones != nil) {
		return errors.New("topic, message_topic and tombstones are not for the format debezium, which names its topics " +
			"itself: debezium.topic_prefix and debezium.omit_tombstones are")
	}
	if s.messages == "" {
		s.messages = s.topic
		if strings.Contains(s.topic, "{table}") {
			s.messages = defaultMessages
		}
	}
	for _, pattern := range []string{s.topic, s.messages} {
		if !isTopic(placeholders.Replace(pattern)) {
			return fmt.Errorf("topic %q cannot be a topic's name: letters, digits, . _ - and {source}, {schema}, {table} can", pattern)
		}
	}
	if strings.Contains(s.messages, "{table}") || strings.Contains(s.messages, "{schema}") {
		return errors.New("message_topic is for events without a table: only {source} can stand in it")
	}
	return nil
}

var placeholders = strings.NewReplacer("{source}", "s", "{schema}", "s", "{table}", "t")

// Spec describes the connector "kafka".
func Spec() connector.Spec {
	return connector.Spec{
		Type: "kafka",
		Sink: func(env connector.Env, decode connector.Decode) (entrain.Sink, error) {
			cfg := SinkConfig{Format: "native", TransactionalID: producerName(env.Pipeline), Create: new(true), ExactlyOnce: new(true)}
			if err := decode(&cfg); err != nil {
				return nil, err
			}
			s, err := NewSink(cfg)
			if err == nil {
				s.outage.log = env.Log
			}
			return s, err
		},
		Log: specLog,
	}
}

// producerName is the transactional id of a pipeline. What a topic's name cannot
// have is replaced, and a hash of the whole name keeps two apart.
func producerName(pipeline string) string {
	name := encoding.TopicName(pipeline)
	if name != pipeline {
		name = fmt.Sprintf("%s-%08x", name, uint32(xxh64([]byte(pipeline))))
	}
	return "entrain." + name
}

// Open connects. Unless exactly_once is false, the writer is an
// [entrain.Positioner]; else its events can be seen before their transaction
// ends, and are not taken back.
func (s *Sink) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if s.exactly {
		return &exactWriter{w}, nil
	}
	return &plainWriter{w}, nil
}

func (s *Sink) open(ctx context.Context) (*writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open kafka sink: %w", err)
	}
	client, err := s.producer()
	if err != nil {
		return nil, fmt.Errorf("open kafka sink: %w", err)
	}
	if err := bounded(ctx, patience, client.Ping); err != nil {
		client.Close()
		s.outage.began(time.Now())
		return nil, s.failure(fmt.Errorf("open kafka sink: %w", err))
	}
	w := &writer{
		production: &s.production, shape: &s.shape, client: client, admin: kadm.NewClient(client),
		stop: context.WithoutCancel(ctx), topics: map[string]*topic{}, state: newState(), settled: time.Now(),
		turn: make(chan struct{}, 1),
	}
	w.pool = newSlabPool(w.refuse)
	w.pool.waits = w.waits
	if w.form, err = newForm(w); err != nil {
		client.Close()
		return nil, fmt.Errorf("open kafka sink: %w", err)
	}
	return w, nil
}
