package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/entrainsync/entrain"
)

// server is a [Server] that was checked.
type server struct {
	options goredis.Options
	url     string // without the password, for people
	plain   string // without the user, too: an administrator uses another
	prefix  string
	streams []string // patterns of further keys that are written
	relaxed bool
}

const (
	// dialTimeout bounds a connection's opening.
	dialTimeout = 10 * time.Second
	// answerTimeout is how long a disk may take to sync what was written.
	answerTimeout = time.Minute
	defaultPrefix = "entrain"
	// The durabilities that can be expected.
	always, relaxed = "always", "relaxed"
)

var prefixName = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

func (c Server) parse() (*server, error) {
	if c.URL == "" {
		return nil, errNoURL
	}
	options, err := goredis.ParseURL(c.URL)
	if err != nil {
		// The library's text would show the URL, with its password.
		return nil, errors.New("redis: the URL cannot be read: expected redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path")
	}
	s := &server{options: *options, prefix: cmp.Or(c.Prefix, defaultPrefix)}
	s.url, s.plain = shown(c.URL)
	if !prefixName.MatchString(s.prefix) {
		return nil, fmt.Errorf("redis: the prefix %q has other characters than letters, digits and any of ._:-", c.Prefix)
	}
	switch cmp.Or(c.Durability, always) {
	case always:
	case relaxed:
		s.relaxed = true
	default:
		return nil, fmt.Errorf("redis: unknown durability %q, expected %s or %s", c.Durability, always, relaxed)
	}
	if err := s.trust(c); err != nil {
		return nil, err
	}
	o := &s.options
	// A session is one connection or two; what it does is not repeated in secret.
	o.MaxRetries, o.PoolSize, o.DialerRetries = -1, 4, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
	o.ContextTimeoutEnabled, o.DisableIdentity, o.Protocol, o.ClientName = true, true, 2, "entrain"
	o.PipelinePoolSize = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return s, nil
}

// shown is a URL without its password, and without the user.
func shown(text string) (withUser, plain string) {
	u, err := url.Parse(text)
	if err != nil {
		return "redis://", "redis://"
	}
	u.RawQuery = ""
	withUser, u.User = u.Redacted(), nil
	return withUser, u.String()
}

// trust sets up TLS.
func (s *server) trust(c Server) error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("redis: a certificate needs its key, and a key its certificate")
	}
	if c.CA == "" && c.Cert == "" {
		return nil
	}
	if s.options.TLSConfig == nil {
		return errors.New("redis: ca, cert and key are for TLS: the URL is to begin with rediss://")
	}
	t := s.options.TLSConfig.Clone()
	t.MinVersion = tls.VersionTLS12
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return fmt.Errorf("redis: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return fmt.Errorf("redis: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("redis: %s has no certificate", c.CA)
		}
	}
	s.options.TLSConfig = t
	return nil
}

// conn is a session with a server: all its connections are to one run of it.
type conn struct {
	server *server
	client *goredis.Client
	wg     sync.WaitGroup // of commands that nobody waits for any more
	once   sync.Once

	mu    sync.Mutex
	facts facts // of the run
}

// errOtherRun ends a session whose server was started again, or replaced.
var errOtherRun = errors.New("the server was started again, or another one has taken its place")

// connect opens a session and looks whether the server is one that can be used.
func (s *server) connect(ctx context.Context) (*conn, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.suits(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dial opens a session.
func (s *server) dial(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &conn{server: s}
	options := s.options
	options.OnConnect = c.greet
	c.client = goredis.NewClient(&options)
	if _, err := do(ctx, c, func() (string, error) { return c.client.Ping(ctx).Result() }); err != nil {
		c.close()
		return nil, s.unreachable(ctx, err)
	}
	return c, nil
}

// greet looks at the server of a new connection.
func (c *conn) greet(ctx context.Context, cn *goredis.Conn) error {
	text, err := cn.Info(ctx).Result()
	if err != nil {
		return err
	}
	f := readInfo(text)
	if f.loading {
		return entrain.Retryable(errors.New("the server is loading its data"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.facts.run != "" && c.facts.run != f.run {
		return errOtherRun
	}
	c.facts = f
	return nil
}

func (c *conn) seen() facts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts
}

// close ends the session; commands on their way fail.
func (c *conn) close() {
	c.once.Do(func() { c.client.Close() })
	c.wg.Wait()
}

// do runs a command until ctx ends: it goes on then without anybody waiting. What it
// is given must stay as it is.
func do[T any](ctx context.Context, c *conn, command func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	came := make(chan answer, 1)
	c.wg.Go(func() {
		value, err := command()
		came <- answer{value, err}
	})
	select {
	case a := <-came:
		return a.value, c.server.mark(ctx, a.err)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// mark says whether another session may be luckier, and makes a stop of a right
// that is missing.
func (s *server) mark(ctx context.Context, err error) error {
	var network net.Error
	var stop *entrain.Stop
	switch {
	case err == nil, errors.As(err, &stop):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case goredis.IsPermissionError(err):
		return s.stopDenied(err)
	case errors.As(err, &network), errors.Is(err, errOtherRun), errors.Is(err, goredis.ErrClosed), isEOF(err):
		return entrain.Retryable(fmt.Errorf("%w: %w", entrain.ErrDisconnected, err))
	case goredis.HasErrorPrefix(err, "WRONGTYPE"):
		return s.stopForeign(err)
	}
	return entrain.Retryable(err)
}
