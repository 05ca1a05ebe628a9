package redis

import (
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/stream"
)

// StreamFile is the stream section of type redis.
type StreamFile struct {
	// URL of the server: redis://user:password@host:6379/0, rediss:// for TLS, or
	// unix:///path.
	URL connector.Secret `yaml:"url,required"`
	// CA is a PEM file with who signed the server's certificate; Cert and Key are
	// ours.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Prefix is what the names of our keys begin with. Default "entrain".
	Prefix string `yaml:"prefix"`
	// MaxBytes is the room in Redis' memory for the pipeline's messages; when it is
	// full, capturing waits. Default 1 GB.
	MaxBytes connector.ByteSize `yaml:"max_bytes"`
	// Retention is how long messages stay that all sinks have read. Default 0: they
	// are removed within seconds.
	Retention time.Duration `yaml:"retention"`
	// Durability says what is expected of the server: that everything is on its disk
	// before it is acknowledged, and that it removes no keys by itself (always), or
	// nothing (relaxed). Default "always".
	Durability string `yaml:"durability"`
}

// SinkFile is the sink section of type redis.
type SinkFile struct {
	// URL of the server: redis://user:password@host:6379/0, rediss:// for TLS, or
	// unix:///path.
	URL connector.Secret `yaml:"url,required"`
	// CA is a PEM file with who signed the server's certificate; Cert and Key are
	// ours.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Prefix is what the names of keys begin with that are not streams of events: the
	// position's. Default "entrain".
	Prefix string `yaml:"prefix"`
	// Stream is the key of the stream that a table's events go to, with {source},
	// {schema} and {table}. Default "{source}.{schema}.{table}".
	Stream string `yaml:"stream"`
	// MessageStream is the key for events without a table, with {source}. Default
	// "{source}.message".
	MessageStream string `yaml:"message_stream"`
	// Format of the values; see docs/format.md. Default "native".
	Format string `yaml:"format"`
	// CloudEvents has the settings of the format cloudevents; only for it.
	CloudEvents *encoding.CloudEventsOptions `yaml:"cloudevents"`
	// MaxLen is about how many entries of each stream stay, the latest ones. Default
	// 0: all stay, until somebody removes them.
	MaxLen int `yaml:"max_len"`
	// Durability says what is expected of the server: that everything is on its disk
	// before it is acknowledged, and that it removes no keys by itself (always), or
	// nothing (relaxed). Default "always".
	Durability string `yaml:"durability"`
}

const defaultMaxBytes = 1 << 30

// Spec describes the connector "redis". What it builds keeps the client library's
// own log from standard error; what happens there comes back as errors.
func Spec() connector.Spec {
	return connector.Spec{Type: "redis", Log: specLog, Sink: specSink, Keys: specKeys}
}

func specLog(env connector.Env, decode connector.Decode) (stream.Log, error) {
	cfg := StreamFile{MaxBytes: defaultMaxBytes, Durability: always}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	goredis.SetLogger(&logging.VoidLogger{})
	return NewLog(Config{
		Server:   Server{URL: cfg.URL.Reveal(), CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key, Prefix: cfg.Prefix, Durability: cfg.Durability},
		Producer: env.Pipeline, MaxBytes: int64(cfg.MaxBytes), Retention: cfg.Retention, Log: env.Log,
	})
}

func specSink(env connector.Env, decode connector.Decode) (entrain.Sink, error) {
	cfg := SinkFile{Format: "native", Durability: always}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	goredis.SetLogger(&logging.VoidLogger{})
	return NewSink(SinkConfig{
		Server:   Server{URL: cfg.URL.Reveal(), CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key, Prefix: cfg.Prefix, Durability: cfg.Durability},
		Pipeline: env.Pipeline, Stream: cfg.Stream, MessageStream: cfg.MessageStream, Format: cfg.Format,
		CloudEvents: cfg.CloudEvents, MaxLen: cfg.MaxLen,
	})
}
