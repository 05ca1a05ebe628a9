// Package nats keeps durable streams (package stream) in NATS JetStream: in a
// server of its own that runs inside the process and listens nowhere
// ([NewEmbedded]), or in one that is there already ([NewLog]). What a stream of
// packed messages is, package stream/packed knows; here are the messages.
//
// Every producer has a JetStream stream with one subject, so that the numbers of
// its messages are consecutive, and a second small one for positions and cursors,
// which must find room when the first is full. Appending names the last message
// of the subject (Nats-Expected-Last-Subject-Sequence): that is the fence. Several
// messages are appended as one atomic batch where the server has that (2.12),
// else one after the other.
package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/entrainsync/entrain/stream/packed"
)

// Config is what a log needs, wherever its server is. Producer is required.
type Config struct {
	// Producer is the pipeline's name, under which its changes are kept.
	Producer string
	// MaxBytes is the room for the producer's messages; 0 means no limit.
	MaxBytes int64
	// Retention is how long messages stay that all cursors have read; 0 removes them
	// within seconds.
	Retention time.Duration
	// Log may be nil.
	Log *slog.Logger
	// MessageBytes and Every are those of [packed.Config].
	MessageBytes int
	Every        time.Duration
}

// ServerConfig is a log on a NATS server that is there. URL is required.
type ServerConfig struct {
	Config
	// URL of the server, or several with commas in between: nats://host:4222 or
	// tls://host:4222. A user's name and password may be in it.
	URL string
	// Credentials is a file with a user's JWT and seed; empty for none.
	Credentials string
	// CA, Cert and Key are PEM files for TLS: who signed the server's certificate,
	// and our own with its key. Empty ones are left out.
	CA, Cert, Key string
	// Stream is what the names of the JetStream streams begin with; empty means
	// "entrain".
	Stream string
	// Replicas is on how many servers of a cluster each message is; 0 means 1. It
	// counts when the streams are made.
	Replicas int
}

// Log is a durable stream in NATS JetStream.
type Log struct {
	*packed.Log
	server   *embedded // nil: it is elsewhere
	backend  *backend
	producer string
}

// Close ends the embedded server, when all sessions are closed. It does nothing
// for a log on another server, and may be called twice.
func (l *Log) Close() error {
	if l.server == nil {
		return nil
	}
	return l.server.close()
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// NewLog returns a log on a server. It does not dial.
func NewLog(cfg ServerConfig) (*Log, error) {
	b, err := cfg.backend()
	if err != nil {
		return nil, err
	}
	l, err := cfg.log(b)
	if err != nil {
		return nil, err
	}
	return &Log{Log: l, backend: b, producer: cfg.Producer}, nil
}

func (c ServerConfig) backend() (*backend, error) {
	if c.URL == "" {
		return nil, errors.New("nats: the server's URL is missing")
	}
	if c.Stream == "" {
		c.Stream = "entrain"
	}
	if !streamName.MatchString(c.Stream) {
		return nil, fmt.Errorf("nats: the stream's name %q has other characters than letters, digits, - and _", c.Stream)
	}
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	return &backend{
		name: c.Stream, grants: grants{c.Stream + ".>", jetStreamAPI, "$JS.ACK.>"}, replicas: max(c.Replicas, 1), maxBytes: c.MaxBytes, url: redacted(c.URL),
		dial: func(_ context.Context, more ...natsgo.Option) (*natsgo.Conn, error) {
			return natsgo.Connect(c.URL, append(more, options...)...)
		},
	}, nil
}

// redacted is the URLs without passwords, for people.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		if parsed, err := url.Parse(strings.TrimSpace(u)); err == nil {
			list[i] = parsed.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// log makes the stream over a back end.
func (c Config) log(b packed.Backend) (*packed.Log, error) {
	return packed.New(packed.Config{
		Backend: b, Producer: c.Producer, MaxBytes: c.MaxBytes, Retention: c.Retention, Log: c.Log,
		MessageBytes: c.MessageBytes, Every: c.Every,
	})
}

// options are those of connections to the server. Files are read again by each
// connection, except the authority's. Servers that a server tells of get no
// credentials: those that the file names are all there are.
func (c *ServerConfig) options() ([]natsgo.Option, error) {
	options := []natsgo.Option{natsgo.IgnoreDiscoveredServers()}
	if c.Credentials != "" {
		options = append(options, natsgo.UserCredentials(c.Credentials))
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("nats: a certificate needs its key, and a key its certificate")
	}
	if c.Cert != "" {
		options = append(options, natsgo.ClientCert(c.Cert, c.Key))
	}
	if c.CA == "" {
		return options, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("nats: %s has no certificate", c.CA)
	}
	return append(options, natsgo.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})), nil
}
