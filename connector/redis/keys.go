package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// Keys remember for a while which changes a sink has. That the server forgets some
// doubles changes after a crash and loses none, so that its durability is not looked
// at. They may be used from several goroutines.
type Keys struct {
	server *server
	ttl    time.Duration

	mu   sync.Mutex
	conn *conn // nil before the first call, and after one that failed
}

var (
	_ entrain.KeyStore = (*Keys)(nil)
	_ entrain.Checker  = (*Keys)(nil)
)

// keysAtOnce is how many keys one command is about: the server does nothing else
// meanwhile.
const keysAtOnce = 1000

// NewKeys returns keys that are kept for the time, which is 1 s or more. It does not
// dial.
func NewKeys(cfg Server, ttl time.Duration) (*Keys, error) {
	s, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	if ttl < time.Second {
		return nil, fmt.Errorf("redis: keys that are kept for %s recognise nothing", ttl)
	}
	return &Keys{server: s, ttl: ttl}, nil
}

func specKeys(c connector.KeysConfig) (entrain.KeyStore, error) {
	goredis.SetLogger(&logging.VoidLogger{})
	return NewKeys(Server{URL: c.URL.Reveal(), CA: c.CA, Cert: c.Cert, Key: c.Key}, c.TTL)
}

// Values implements [entrain.KeyStore]: one round trip.
func (k *Keys) Values(ctx context.Context, keys []string) ([]string, error) {
	values := make([]string, 0, len(keys))
	err := k.with(ctx, func(p goredis.Pipeliner) (read func() error) {
		var answers []*goredis.SliceCmd
		for first := 0; first < len(keys); first += keysAtOnce {
			answers = append(answers, p.MGet(ctx, keys[first:min(first+keysAtOnce, len(keys))]...))
		}
		return func() error {
			for _, a := range answers {
				for _, v := range a.Val() {
					text, _ := v.(string) // nil, or of another type: not ours
					values = append(values, text)
				}
			}
			return nil
		}
	})
	return values, err
}

// Keep implements [entrain.KeyStore]: one round trip.
func (k *Keys) Keep(ctx context.Context, keys, values []string) error {
	if len(keys) != len(values) {
		return fmt.Errorf("%d keys and %d values", len(keys), len(values))
	}
	return k.with(ctx, func(p goredis.Pipeliner) func() error {
		for i := range keys {
			p.Set(ctx, keys[i], values[i], k.ttl)
		}
		return func() error { return nil }
	})
}

// with sends what ask says in one round trip, and reads the answers if all are good.
func (k *Keys) with(ctx context.Context, ask func(goredis.Pipeliner) (read func() error)) error {
	c, err := k.open(ctx)
	if err != nil {
		return err
	}
	p := c.client.Pipeline()
	read := ask(p)
	_, err = do(ctx, c, func() ([]goredis.Cmder, error) { return p.Exec(ctx) })
	if err == nil {
		return read()
	}
	k.drop(c)
	var stop *entrain.Stop
	if errors.As(err, &stop) && stop.Code == "redis_denied" {
		return k.stopDenied(err)
	}
	return fmt.Errorf("keys at %s: %w", k.server.url, err)
}

func (k *Keys) open(ctx context.Context) (*conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		return k.conn, nil
	}
	c, err := k.server.dial(ctx)
	if err == nil {
		k.conn = c
	}
	return c, err
}

// drop closes a connection that failed; the next call opens another one.
func (k *Keys) drop(c *conn) {
	k.mu.Lock()
	mine := k.conn == c
	if mine {
		k.conn = nil
	}
	k.mu.Unlock()
	if mine {
		c.close()
	}
}

// Close ends the connection; the next call opens another one.
func (k *Keys) Close() error {
	k.mu.Lock()
	c := k.conn
	k.conn = nil
	k.mu.Unlock()
	if c != nil {
		c.close()
	}
	return nil
}

func (k *Keys) stopDenied(err error) error {
	s := k.server
	return &entrain.Stop{
		Code: "redis_denied",
		What: fmt.Sprintf("the user %s may not use the keys of deduplication at the Redis at %s", s.user(), s.url),
		Why:  "a command or a key is not among its rights, which an administrator gives",
		Next: s.admin(k.rights()) + "; entrain run FILE",
		Err:  err,
	}
}

// codeKeys is about the server of deduplication.
const codeKeys = "redis_keys"

// Codes implements [entrain.Checker].
func (k *Keys) Codes() []string { return []string{codeKeys} }

// Check implements [entrain.Checker]: it asks for a key. Whether some may be set is
// seen only when the first are.
func (k *Keys) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	report := entrain.Report{Server: "Redis at " + k.server.url, Connect: k.server.url}
	_, err := k.Values(ctx, []string{"entrain:check"})
	var stop *entrain.Stop
	found := entrain.Finding{Code: codeKeys, Object: report.Server, Doc: "dedup.md#" + codeKeys}
	if errors.As(err, &stop) {
		found.Status, found.Why = entrain.FindingError, stop.What+": "+stop.Why
		found.Fix = []entrain.Fix{{Where: k.server.where(), Shell: k.server.admin(k.rights())}}
		err = nil
	}
	report.Findings = []entrain.Finding{found}
	return report, errors.Join(err, k.Close())
}

// rights is the command that gives what a user needs.
func (k *Keys) rights() string {
	return "ACL SETUSER " + quote(k.server.user()) + " " + quoteAll("~* +ping +info +client|setname +select +mget +set")
}
