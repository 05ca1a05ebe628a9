package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/registry"
)

// SinkConfig is the sink section of type kafka.
type SinkConfig struct {
	// Brokers to begin with, host:port each. Either these or URL.
	Brokers []string `yaml:"brokers"`
	// URL is the same in one text, with credentials for SASL if it has any:
	// kafka://user:password@host:9092,host:9092.
	URL connector.Secret `yaml:"url"`
	// TLS, if given, encrypts the connections; all its fields may be left out.
	TLS *TLSConfig `yaml:"tls"`
	// SASL, if given, is how to log in.
	SASL *SASLConfig `yaml:"sasl"`

	// Topic is where the events of a table go; {source}, {schema} and {table} stand
	// for their names. Default "{source}.{schema}.{table}". The format debezium
	// names its topics itself.
	Topic string `yaml:"topic"`
	// MessageTopic is where events without a table go. Default "{source}.message"
	// if Topic has {table}, else Topic.
	MessageTopic string `yaml:"message_topic"`
	// Create makes topics that are missing. Default true.
	Create *bool `yaml:"create"`
	// Partitions of a topic that is made, and what one that is there must have;
	// 0, the default: 1 for those that are made, any for others.
	Partitions int `yaml:"partitions"`
	// ReplicationFactor of topics that are made; 0, the default: as the broker says.
	ReplicationFactor int `yaml:"replication_factor"`
	// Retention of topics that are made; 0, the default: as the broker says.
	Retention time.Duration `yaml:"retention"`

	// Format of the values; see package encoding. Default "native". The formats avro
	// and protobuf, and json, which is flat with JSON Schema, need SchemaRegistry.
	Format string `yaml:"format"`
	// SchemaRegistry is where the schemas of avro, protobuf, native and flat are
	// registered.
	SchemaRegistry *registry.Config `yaml:"schema_registry"`
	// Debezium has the settings of the format debezium; only for it.
	Debezium *encoding.DebeziumOptions `yaml:"debezium"`
	// CloudEvents has the settings of the format cloudevents, which is written in
	// the binary mode of its Kafka binding; only for it.
	CloudEvents *encoding.CloudEventsOptions `yaml:"cloudevents"`
	// Tombstones: a record without a value behind each delete, so that a compacted
	// topic forgets the row. Default true; the format debezium has its own setting.
	Tombstones *bool `yaml:"tombstones"`

	// Compression: lz4 (default), zstd, snappy, gzip or none.
	Compression string `yaml:"compression"`
	// Partitioner: xxh64 (default) or murmur2, that of Kafka's own clients.
	Partitioner string `yaml:"partitioner"`
	// Acks: all, which is the default and the only one: less could lose events.
	Acks string `yaml:"acks"`
	// Linger is how long a record waits for others to go with it. Default 0.
	Linger time.Duration `yaml:"linger"`
	// MaxMessageBytes is the largest batch that the brokers take
	// (message.max.bytes). Default 1000012 bytes, which every broker takes.
	MaxMessageBytes connector.ByteSize `yaml:"max_message_bytes"`

	// ExactlyOnce: events and position are one transaction of Kafka's. Default
	// true. Otherwise the position is in the pipeline's own state, and events can be
	// repeated after a crash.
	ExactlyOnce *bool `yaml:"exactly_once"`
	// TransactionalID names the producer: who takes it over fences the one before.
	// The position is in the topic of this name and ".state". Default
	// entrain.PIPELINE.
	TransactionalID string `yaml:"transactional_id"`
	// TransactionTimeout is how long a transaction of the source may take to be
	// written. No more than the brokers' transaction.max.timeout.ms. Default 15m,
	// which is theirs, too.
	TransactionTimeout time.Duration `yaml:"transaction_timeout"`
}

// TLSConfig says how connections are encrypted.
type TLSConfig struct {
	// CAFile has the certificates to trust, in PEM. Default: those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are our own certificate and its key, in PEM, if the
	// brokers ask for one.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name in the brokers' certificate. Default: the host.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify trusts any certificate: for tests only.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// SASLConfig says how to log in.
type SASLConfig struct {
	// Mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default).
	Mechanism string `yaml:"mechanism"`
	// User and Password; those of the URL if they are left out.
	User     string           `yaml:"user"`
	Password connector.Secret `yaml:"password"`
}

const (
	defaultTopic    = "{source}.{schema}.{table}"
	defaultMessages = "{source}.message"
	// stateSuffix makes the name of a producer's state topic.
	stateSuffix = ".state"
	// topicLimit is how long the brokers let a topic's name be.
	topicLimit = 249
	// leastMessage is the least that franz-go takes for a batch.
	leastMessage = 1 << 10
	mostMessage  = 1 << 30
	// mostPartitions is more than any topic should have.
	mostPartitions = 100_000
	// defaultMessage leaves room for what the brokers count besides.
	defaultMessage = 1000012
)

var (
	compressions = []string{"lz4", "zstd", "snappy", "gzip", "none"}
	partitioners = []string{"xxh64", "murmur2"}
	mechanisms   = []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"}
)

// server is how to reach the brokers.
type server struct {
	brokers []string
	tls     *TLSConfig
	sasl    *SASLConfig
	// unpacked is what a batch may take once it is unpacked; 0: leastUnpacked.
	unpacked int
}

// parse reads what both configurations say of the brokers.
func (s *server) parse(brokers []string, address connector.Secret) error {
	s.brokers = brokers
	if (len(brokers) == 0) == (address == "") {
		return errors.New(`either brokers or url is needed, for example brokers: ["localhost:9092"]`)
	}
	if s.sasl != nil {
		copied := *s.sasl
		s.sasl = &copied
	}
	if address != "" {
		if err := s.parseURL(address); err != nil {
			return err
		}
	}
	for _, b := range s.brokers {
		if host, _, ok := strings.Cut(b, ":"); b == "" || ok && host == "" || strings.ContainsAny(b, "/@ ") {
			return fmt.Errorf("broker %q is not host:port", connector.Secret(b))
		}
	}
	return s.checkLogin()
}

// parseURL takes the URL apart; the errors quote nothing of it.
func (s *server) parseURL(address connector.Secret) error {
	rest, ok := strings.CutPrefix(address.Reveal(), "kafka://")
	if !ok {
		return errors.New("url does not begin with kafka://")
	}
	rest = strings.TrimSuffix(rest, "/")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		name, word, _ := strings.Cut(rest[:at], ":")
		user, err := url.PathUnescape(name)
		password, errWord := url.PathUnescape(word)
		if err != nil || errWord != nil {
			return errors.New("user or password of the url is not percent-encoded as it must be")
		}
		if s.sasl == nil {
			s.sasl = &SASLConfig{}
		}
		s.sasl.User = cmp.Or(s.sasl.User, user)
		s.sasl.Password = cmp.Or(s.sasl.Password, connector.Secret(password))
		rest = rest[at+1:]
	}
	s.brokers = strings.Split(rest, ",")
	return nil
}

func (s *server) checkLogin() error {
	if s.tls != nil && (s.tls.CertFile == "") != (s.tls.KeyFile == "") {
		return errors.New("tls.cert_file and tls.key_file belong together")
	}
	if s.sasl == nil {
		return nil
	}
	s.sasl.Mechanism = strings.ToUpper(s.sasl.Mechanism)
	if err := choose("sasl.mechanism", &s.sasl.Mechanism, mechanisms); err != nil {
		return err
	}
	if s.sasl.User == "" || s.sasl.Password == "" {
		return errors.New("sasl needs user and password")
	}
	return nil
}

// production is how records are written.
type production struct {
	server
	create            bool
	partitions        int
	replication       int
	retention         time.Duration
	compression       string
	partitioner       string
	linger            time.Duration
	maxMessage        int32
	exactly           bool
	uncompacted       bool // topics of events are made so, whatever the brokers' default is
	transactionalID   string
	transactionTimout time.Duration
	outage            *outage // of all sessions
}

// check completes and checks the settings.
func (p *production) check() error {
	if p.partitions > mostPartitions || p.replication > math.MaxInt16 {
		return errors.New("partitions or replication_factor is more than any cluster has")
	}
	if p.partitions < 0 || p.replication < 0 || p.retention < 0 || p.linger < 0 || p.transactionTimout < 0 {
		return errors.New("partitions, replication_factor, retention, linger and transaction_timeout cannot be negative")
	}
	p.transactionTimout = cmp.Or(p.transactionTimout, 15*time.Minute)
	p.maxMessage = cmp.Or(p.maxMessage, defaultMessage)
	p.unpacked = unpackedLimit(p.maxMessage)
	if !isTopic(p.transactionalID) || len(p.transactionalID) > topicLimit-len(stateSuffix) {
		return fmt.Errorf("transactional_id %q cannot be part of a topic's name: letters, digits, . _ and - can, up to %d",
			p.transactionalID, topicLimit-len(stateSuffix))
	}
	return errors.Join(
		choose("compression", &p.compression, compressions),
		choose("partitioner", &p.partitioner, partitioners),
	)
}

// messageBytes checks a limit for messages.
func messageBytes(size connector.ByteSize) (int32, error) {
	if size != 0 && (size < leastMessage || size > mostMessage) {
		return 0, errors.New("max_message_bytes must be between 1kB and 1GB")
	}
	return int32(size), nil
}

// isTopic reports whether a name can be that of a topic.
func isTopic(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= topicLimit && encoding.TopicName(name) == name
}

// choose checks that a setting is one of the known words; the first is the
// default.
func choose(name string, value *string, known []string) error {
	if *value == "" {
		*value = known[0]
	}
	if !slices.Contains(known, *value) {
		return fmt.Errorf("%s %q, known: %s", name, *value, strings.Join(known, ", "))
	}
	return nil
}

// orTrue is the value of a setting whose default is true.
func orTrue(b *bool) bool { return b == nil || *b }
