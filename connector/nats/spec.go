package nats

import (
	"path/filepath"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/stream"
)

// EmbeddedFile is the stream section of type embedded.
type EmbeddedFile struct {
	// Dir is the folder that the stream is kept in. Default: the folder "stream"
	// in the pipeline's state.
	Dir string `yaml:"dir"`
	// MaxBytes is the room for messages on the disk. When it is full and a sink has
	// not read the oldest, capturing waits; nothing is dropped. Default 10 GB.
	MaxBytes connector.ByteSize `yaml:"max_bytes"`
	// Retention is how long messages stay that all sinks have read. Default 0: they
	// are removed within seconds.
	Retention time.Duration `yaml:"retention"`
}

// ServerFile is the stream section of type nats.
type ServerFile struct {
	// URL of the server, or several with commas in between: nats://host:4222 or
	// tls://host:4222. A user's name and password may be in it.
	URL connector.Secret `yaml:"url,required"`
	// Credentials is a file with a user's JWT and seed.
	Credentials string `yaml:"credentials"`
	// CA is a PEM file with who signed the server's certificate; Cert and Key are
	// ours.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Stream is what the names of the JetStream streams begin with. Default
	// "entrain".
	Stream string `yaml:"stream"`
	// Replicas is on how many servers of a cluster each message is. It counts when
	// the streams are made. Default 1.
	Replicas int `yaml:"replicas"`
	// MaxBytes is the room for the pipeline's messages; when it is full, capturing
	// waits. Default: no limit but the server's.
	MaxBytes connector.ByteSize `yaml:"max_bytes"`
	// Retention is how long messages stay that all sinks have read. Default 24h.
	Retention time.Duration `yaml:"retention"`
}

// SinkFile is the sink section of type nats.
type SinkFile struct {
	// URL of the server, or several with commas in between: nats://host:4222 or
	// tls://host:4222. A user's name and password may be in it.
	URL connector.Secret `yaml:"url,required"`
	// Credentials is a file with a user's JWT and seed.
	Credentials string `yaml:"credentials"`
	// CA is a PEM file with who signed the server's certificate; Cert and Key are
	// ours.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Stream is the JetStream stream that has the changes and the position; it is made
	// if it is missing. Default "changes".
	Stream string `yaml:"stream"`
	// Subject is where a table's events go, with {source}, {schema} and {table}.
	// Default "changes.{source}.{schema}.{table}".
	Subject string `yaml:"subject"`
	// MessageSubject is for events without a table, with {source}. Default
	// "changes.{source}.message".
	MessageSubject string `yaml:"message_subject"`
	// Format of the messages; see docs/format.md. Default "native".
	Format string `yaml:"format"`
	// Debezium has the settings of the format debezium; only for it. topic_prefix is
	// required: all subjects begin with it.
	Debezium *encoding.DebeziumOptions `yaml:"debezium"`
	// CloudEvents has the settings of the format cloudevents; only for it.
	CloudEvents *encoding.CloudEventsOptions `yaml:"cloudevents"`
	// Replicas is on how many servers of a cluster each message is. It counts when
	// the stream is made. Default 1.
	Replicas int `yaml:"replicas"`
	// MaxBytes is the room of the stream; when it is full, its oldest messages go.
	// Default: no limit but the server's.
	MaxBytes connector.ByteSize `yaml:"max_bytes"`
	// Retention is how long messages stay. Default 0: always.
	Retention time.Duration `yaml:"retention"`
}

const (
	defaultMaxBytes  = 10 << 30
	defaultRetention = 24 * time.Hour
)

// SpecEmbedded describes the stream "embedded".
func SpecEmbedded() connector.Spec {
	return connector.Spec{Type: "embedded", Log: func(env connector.Env, decode connector.Decode) (stream.Log, error) {
		cfg := EmbeddedFile{Dir: filepath.Join(env.State, "stream"), MaxBytes: defaultMaxBytes}
		if err := decode(&cfg); err != nil {
			return nil, err
		}
		return NewEmbedded(EmbeddedConfig{Dir: cfg.Dir, Config: Config{
			Producer: env.Pipeline, MaxBytes: int64(cfg.MaxBytes), Retention: cfg.Retention, Log: env.Log,
		}})
	}}
}

// Spec describes the connector "nats".
func Spec() connector.Spec {
	return connector.Spec{Type: "nats", Sink: specSink, Log: func(env connector.Env, decode connector.Decode) (stream.Log, error) {
		cfg := ServerFile{Retention: defaultRetention}
		if err := decode(&cfg); err != nil {
			return nil, err
		}
		return NewLog(ServerConfig{
			URL: cfg.URL.Reveal(), Credentials: cfg.Credentials, CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key,
			Stream: cfg.Stream, Replicas: cfg.Replicas,
			Config: Config{Producer: env.Pipeline, MaxBytes: int64(cfg.MaxBytes), Retention: cfg.Retention, Log: env.Log},
		})
	}}
}

func specSink(env connector.Env, decode connector.Decode) (entrain.Sink, error) {
	cfg := SinkFile{Format: "native"}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	return NewSink(SinkConfig{
		Server: ServerConfig{
			URL: cfg.URL.Reveal(), Credentials: cfg.Credentials, CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key,
			Stream: cfg.Stream, Replicas: cfg.Replicas, Config: Config{MaxBytes: int64(cfg.MaxBytes), Retention: cfg.Retention},
		},
		Pipeline: env.Pipeline, Subject: cfg.Subject, MessageSubject: cfg.MessageSubject, Format: cfg.Format,
		Debezium: cfg.Debezium, CloudEvents: cfg.CloudEvents,
	})
}
