package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/registry"
	"github.com/entrainsync/entrain/stream"
)

// LogConfig is the stream section of type kafka. What is called as in
// [SinkConfig] is the same.
type LogConfig struct {
	// Brokers to begin with, host:port each. Either these or URL.
	Brokers []string `yaml:"brokers"`
	// URL is the same in one text: kafka://user:password@host:9092,host:9092.
	URL connector.Secret `yaml:"url"`
	// TLS, if given, encrypts the connections.
	TLS *TLSConfig `yaml:"tls"`
	// SASL, if given, is how to log in.
	SASL *SASLConfig `yaml:"sasl"`

	// Topic that is the stream. Several pipelines may write to one: each event
	// then arrives once and those of a key in their order (P1, P2, P3), while
	// transactions of one can stand between parts of another's (no P4). Default
	// entrain.PIPELINE.changes.
	Topic string `yaml:"topic"`
	// Create makes topics that are missing. Default true.
	Create *bool `yaml:"create"`
	// Partitions that the topic has or is made with; 0: any. With one, the default
	// of a file, the order of all changes is
	// kept, and transactions stay whole (P4); with more, that of a key is.
	Partitions int `yaml:"partitions"`
	// ReplicationFactor of topics that are made; 0, the default: as the broker says.
	ReplicationFactor int `yaml:"replication_factor"`
	// Retention of the topic if it is made; 0, the default: as the broker says. A
	// sink that is behind for longer has a gap, and stops.
	Retention time.Duration `yaml:"retention"`

	// SchemaRegistry, if given, has a JSON Schema of each table's records; the ids are
	// in headers. Subjects are called topic_record_name unless it says otherwise.
	SchemaRegistry *registry.Config `yaml:"schema_registry"`

	// Compression: lz4 (default), zstd, snappy, gzip or none.
	Compression string `yaml:"compression"`
	// Partitioner: xxh64 (default) or murmur2.
	Partitioner string `yaml:"partitioner"`
	// Linger is how long a record waits for others to go with it. Default 0.
	Linger time.Duration `yaml:"linger"`
	// MaxMessageBytes is the largest batch that the brokers take. Default 1000012
	// bytes, which every broker takes.
	MaxMessageBytes connector.ByteSize `yaml:"max_message_bytes"`
	// TransactionalID names the producer. Default entrain.PIPELINE.
	TransactionalID string `yaml:"transactional_id"`
	// TransactionTimeout is how long a transaction of the source may take to be
	// written. Default 15m.
	TransactionTimeout time.Duration `yaml:"transaction_timeout"`
	// GroupProtocol of the processes that share the partitions: classic (default),
	// or consumer, the newer one, which is for brokers from 4.3 on.
	GroupProtocol string `yaml:"group_protocol"`
	// SessionTimeout is how long a process of a group may be silent before the
	// others get its partitions. Default 10s; the brokers bound it from below by 6s
	// if they are not told otherwise. With the protocol consumer it is the brokers'.
	SessionTimeout time.Duration `yaml:"session_timeout"`
}

// defaultSession is short, since a partition stands still for as long.
const defaultSession = 10 * time.Second

// shapesSuffix makes the name of the topic beside a log's.
const shapesSuffix = ".shapes"

// Log is a topic as a durable stream: an open one, which other programs can read
// and write, too. It is safe for several goroutines.
type Log struct {
	sink     *Sink
	name     string
	protocol string
	session  time.Duration // how long a member of a group may be silent

	mu      sync.Mutex
	values  *values
	writer  *writer                // the current one
	members map[string]*kgo.Client // of groups, by cursor
	cursors []string
	removed bool // a teardown has begun: nothing is made any more
	settled bool // events of the pipeline are in this topic
}

var (
	_ stream.Log      = (*Log)(nil)
	_ stream.Assigner = (*Log)(nil)
	_ stream.Keeper   = (*Log)(nil)
	_ stream.Cursorer = (*Log)(nil)
	_ entrain.Checker = (*Log)(nil)
	_ entrain.Checker = (*Sink)(nil)

	_ entrain.TableMaker = (*Log)(nil)
	_ entrain.Divided    = (*Log)(nil)
)

// NewLog checks the configuration; it does not dial. Topic and transactional id
// have no default here: see [Spec].
func NewLog(cfg LogConfig) (*Log, error) {
	protocol := cfg.GroupProtocol
	err := choose("group_protocol", &protocol, []string{"classic", "consumer"})
	if !isTopic(cfg.Topic) || len(cfg.Topic) > topicLimit-len(shapesSuffix) {
		err = errors.Join(err, fmt.Errorf("topic %q cannot be a topic's name: letters, digits, . _ and - can, up to %d",
			cfg.Topic, topicLimit-len(shapesSuffix)))
	}
	if cfg.SessionTimeout < 0 {
		err = errors.Join(err, fmt.Errorf("session_timeout: %s is negative", cfg.SessionTimeout))
	}
	schemas, wrong := logRegistry(cfg.SchemaRegistry)
	if err = errors.Join(err, wrong); err != nil {
		return nil, fmt.Errorf("kafka stream: %w", err)
	}
	no := false
	sink, err := NewSink(SinkConfig{
		Brokers: cfg.Brokers, URL: cfg.URL, TLS: cfg.TLS, SASL: cfg.SASL, Topic: cfg.Topic, Create: cfg.Create,
		Partitions: cfg.Partitions, ReplicationFactor: cfg.ReplicationFactor, Retention: cfg.Retention,
		Tombstones: &no, Compression: cfg.Compression, Partitioner: cfg.Partitioner, Linger: cfg.Linger,
		MaxMessageBytes: cfg.MaxMessageBytes, TransactionalID: cfg.TransactionalID, TransactionTimeout: cfg.TransactionTimeout,
		SchemaRegistry: schemas,
	})
	if err != nil {
		return nil, fmt.Errorf("kafka stream: %w", errors.Unwrap(err))
	}
	sink.shape.log, sink.uncompacted = true, true
	return &Log{sink: sink, name: cfg.Topic, protocol: protocol, session: cmp.Or(cfg.SessionTimeout, defaultSession),
		members: map[string]*kgo.Client{}}, nil
}

// logRegistry completes and checks what a log needs of a registry: all tables are in
// one topic, and who reads values expects JSON from their first byte on.
func logRegistry(cfg *registry.Config) (*registry.Config, error) {
	if cfg == nil {
		return nil, nil
	}
	own := *cfg
	own.Subject = cmp.Or(own.Subject, registry.TopicRecordName)
	own.SchemaID = cmp.Or(own.SchemaID, registry.Header)
	if own.SchemaID != registry.Header {
		return nil, fmt.Errorf("schema_registry: schema_id: %q is not for a stream, whose records have the ids in headers", own.SchemaID)
	}
	return &own, nil
}

// specLog builds a log from the file's stream section.
func specLog(env connector.Env, decode connector.Decode) (stream.Log, error) {
	name := producerName(env.Pipeline)
	cfg := LogConfig{Topic: name + ".changes", TransactionalID: name, Create: new(true), Partitions: 1}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	l, err := NewLog(cfg)
	if err == nil {
		l.sink.outage.log = env.Log
	}
	return l, err
}

// Open connects a writer, which is an [entrain.Positioner].
func (l *Log) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := l.sink.open(ctx)
	if err != nil {
		return nil, err
	}
	w.log = l
	l.wrote(w, nil)
	return &exactWriter{w}, nil
}

// admin runs do with a client of its own.
func (l *Log) admin(ctx context.Context, do func(ctx context.Context, client *kgo.Client, adm *kadm.Client) error) error {
	return l.explain(l.sink.asAdmin(ctx, do))
}

// explain names the topic where a right is missing for it.
func (l *Log) explain(err error) error {
	if denied(err) == "topic" {
		return l.sink.stopDenied(err, l.name)
	}
	return l.sink.failure(err)
}

// ensureTopic returns the topic, which is made if it is missing and create says
// so, unless the events are in another one.
func (l *Log) ensureTopic(ctx context.Context, adm *kadm.Client) (*topic, error) {
	l.mu.Lock()
	removed := l.removed
	l.mu.Unlock()
	if removed {
		t, err := look(ctx, adm, l.name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return &topic{name: l.name}, nil
		}
		return t, err
	}
	if err := l.unmoved(ctx, adm); err != nil {
		return nil, err
	}
	return l.sink.ensure(ctx, adm, l.sink.events(l.name))
}

// Partitions implements [stream.Log]. A topic that is missing is made.
func (l *Log) Partitions(ctx context.Context) ([]stream.Partition, error) {
	var list []stream.Partition
	err := l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		t, err := l.ensureTopic(ctx, adm)
		for i := int32(0); err == nil && i < t.partitions; i++ {
			list = append(list, l.partition(i))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", l.name, err)
	}
	return list, nil
}

// Divided implements [entrain.Divided]: with one partition all changes have one
// order.
func (l *Log) Divided(ctx context.Context) error {
	all, err := l.Partitions(ctx)
	if err == nil && len(all) > 1 {
		err = l.stopDivided(len(all))
	}
	return err
}

// partition names a partition: topic/number.
func (l *Log) partition(number int32) stream.Partition {
	return stream.Partition(l.name + "/" + strconv.Itoa(int(number)))
}

// number is the reverse of partition.
func (l *Log) number(p stream.Partition) (int32, error) {
	name, digits, _ := strings.Cut(string(p), "/")
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 || name != l.name {
		return 0, fmt.Errorf("%q is no partition of the topic %s", p, l.name)
	}
	return int32(n), nil
}

// Assign implements [stream.Assigner] by a consumer group, which reads nothing
// itself. Partitions move one by one: the others go on meanwhile.
func (l *Log) Assign(ctx context.Context, cursor string, work func(ctx context.Context, p stream.Partition) error) error {
	a := &assignment{log: l, cursor: cursor, work: work, running: map[int32]*job{}}
	a.ctx, a.end = context.WithCancelCause(ctx)
	defer a.end(nil)
	opts, err := l.sink.options()
	if err != nil {
		return err
	}
	err = l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		_, err := l.ensureTopic(ctx, adm)
		return err
	})
	if err != nil {
		return err
	}
	opts = append(opts,
		kgo.ConsumerGroup(cursor), kgo.ConsumeTopics(l.name), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(a.assigned), kgo.OnPartitionsRevoked(a.revoked), kgo.OnPartitionsLost(a.revoked),
	)
	if l.protocol == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(l.session), kgo.HeartbeatInterval(l.session/5))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	client.PauseFetchTopics(l.name)
	l.member(cursor, client)
	defer a.leave(client)
	for a.ctx.Err() == nil { // polling tells of what the group cannot do
		if err := l.poll(a.ctx, client); err != nil && a.ctx.Err() == nil {
			return l.explain(groupError(err, cursor))
		}
	}
	if cause := context.Cause(a.ctx); ctx.Err() == nil && cause != nil {
		return cause
	}
	return nil
}

func groupError(err error, cursor string) error {
	return fmt.Errorf("consumer group %s: %w", cursor, err)
}

// member notes the client of a group, whose offsets only it may commit.
func (l *Log) member(cursor string, c *kgo.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil {
		delete(l.members, cursor)
		return
	}
	l.members[cursor] = c
}

// commit stores how far a cursor has read a partition.
func (l *Log) commit(ctx context.Context, cursor string, partition int32, offset int64) error {
	l.mu.Lock()
	member := l.members[cursor]
	l.mu.Unlock()
	if member == nil {
		return l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
			var offsets kadm.Offsets
			offsets.AddOffset(l.name, partition, offset, -1)
			return adm.CommitAllOffsets(ctx, cursor, offsets)
		})
	}
	var failed error
	member.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{l.name: {partition: {Epoch: -1, Offset: offset}}},
		func(_ *kgo.Client, _ *commitRequest, resp *commitResponse, err error) {
			failed = err
			if err == nil && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
				failed = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
			}
		})
	return failed
}

// Cursors implements [stream.Cursorer]: the names are those of consumer groups. What
// they have read stays for the topic's retention.
func (l *Log) Cursors(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursors = slices.Clone(names)
}

func (l *Log) groups() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.cursors)
}

// CursorAt implements [stream.CursorKeeper].
func (l *Log) CursorAt(ctx context.Context, cursor string, p stream.Partition) (at entrain.Position, err error) {
	number, err := l.number(p)
	if err != nil {
		return at, err
	}
	err = l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		t, err := l.ensureTopic(ctx, adm)
		if err != nil {
			return err
		}
		all, err := adm.FetchOffsets(ctx, cursor)
		if err != nil {
			return err
		}
		if o, ok := all.Lookup(l.name, number); ok && o.Err == nil && o.At >= 0 {
			at = entrain.Position{Incarnation: idText(t.id), Offset: offsetText(number, o.At)}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("look where group %s is: %w", cursor, err)
	}
	return at, err
}

// Close ends what the log keeps open between sessions.
func (l *Log) Close() error {
	l.keep(nil)
	return nil
}

// Read implements [stream.Log].
func (l *Log) Read(cursor string, p stream.Partition) entrain.Source {
	return &source{log: l, cursor: cmp.Or(cursor, l.sink.transactionalID), partition: p}
}
