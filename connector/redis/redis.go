// Package redis keeps durable streams (package stream) in Redis 7 or later, and
// writes changes to streams of Redis that others read ([Sink]). What a stream of
// packed messages is, package stream/packed knows; here are the messages.
//
// Every producer has one stream key, whose entries have the numbers of the messages
// as their ids, and a hash for positions and cursors. Whatever changes them is a Lua
// script that first looks whether the stream is still the one that the session
// began with: the check of the last entry, which is the fence, and the appending
// are one step.
//
// Redis has on disk what it acknowledged only with appendfsync always, and may
// remove keys by itself under some policies; both are looked at whenever a session
// begins. One that was started again, or another that took its place, may lack its
// latest messages nevertheless (a backup, a replica): numbers then go on behind
// all that can have been given out before, and what a reader has that is gone is a
// stop.
package redis

import (
	"errors"
	"log/slog"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// Config is a log on a Redis server. URL and Producer are required.
type Config struct {
	Server
	// Producer is the pipeline's name, under which its changes are kept.
	Producer string
	// MaxBytes is the room in Redis' memory for the producer's messages; 0 means no
	// limit but the server's own.
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

// Server says how a Redis server is reached and what is expected of it. URL is
// required.
type Server struct {
	// URL of the server: redis://user:password@host:6379/0, rediss:// for TLS, or
	// unix:///path.
	URL string
	// CA, Cert and Key are PEM files for TLS: who signed the server's certificate,
	// and our own with its key. Empty ones are left out.
	CA, Cert, Key string
	// Prefix is what the names of our keys begin with; empty means "entrain".
	Prefix string
	// Durability is "always", which is also what empty means: a server that may lose
	// what it has acknowledged is a stop; or "relaxed": it is taken as it is.
	Durability string
}

// Log is a durable stream in Redis. It implements what a [packed.Log] does, and
// [entrain.Checker].
type Log struct {
	*packed.Log
	server   *server
	producer string
	maxBytes int64
}

// NewLog returns a log on a server. It does not dial.
func NewLog(cfg Config) (*Log, error) {
	s, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	return cfg.over(&backend{server: s})
}

// over makes the log over a back end.
func (c Config) over(b packed.Backend) (*Log, error) {
	s, err := c.parse()
	if err != nil {
		return nil, err
	}
	l, err := packed.New(packed.Config{
		Backend: b, Producer: c.Producer, MaxBytes: c.MaxBytes, Retention: c.Retention, Log: c.Log,
		MessageBytes: c.MessageBytes, Every: c.Every,
	})
	if err != nil {
		return nil, err
	}
	return &Log{Log: l, server: s, producer: c.Producer, maxBytes: c.MaxBytes}, nil
}

// Guarantees implements [entrain.Guarantor].
func (l *Log) Guarantees() entrain.Guarantees {
	g := l.Log.Guarantees()
	g.Why = l.server.why()
	return g
}

// why is what the promises rest on if the server's durability is not looked at.
func (s *server) why() string {
	if !s.relaxed {
		return ""
	}
	return "durability: relaxed: Redis may lose what it has acknowledged last when it ends; that is a stop then, and copying anew"
}

var errNoURL = errors.New("redis: the server's URL is missing")
