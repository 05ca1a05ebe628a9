package redis

import (
	"time"

	"github.com/entrainsync/entrain/connector"
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

const defaultMaxBytes = 1 << 30

// Spec describes the connector "redis".
func Spec() connector.Spec {
	return connector.Spec{
		Type: "redis",
		Log: func(env connector.Env, decode connector.Decode) (stream.Log, error) {
			cfg := StreamFile{MaxBytes: defaultMaxBytes, Durability: "always"}
			if err := decode(&cfg); err != nil {
				return nil, err
			}
			return NewLog(Config{
				Server:   Server{URL: cfg.URL.Reveal(), CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key, Prefix: cfg.Prefix, Durability: cfg.Durability},
				Producer: env.Pipeline, MaxBytes: int64(cfg.MaxBytes), Retention: cfg.Retention, Log: env.Log,
			})
		},
	}
}
