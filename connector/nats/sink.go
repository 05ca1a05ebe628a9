package nats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// SinkConfig is a sink on a NATS server. Server.URL and Pipeline are required; of
// Server, MaxBytes is the room of the whole JetStream stream, whose oldest messages
// go when it is full, Retention their age, and Stream its name (empty: "changes").
type SinkConfig struct {
	Server ServerConfig
	// Pipeline names the position.
	Pipeline string
	// Subject is where a table's events go; {source}, {schema} and {table} in it are
	// filled in. Empty means "changes.{source}.{schema}.{table}".
	Subject string
	// MessageSubject is for events without a table; {source} is filled in. Empty
	// means "changes.{source}.message".
	MessageSubject string
	// Format of the messages: "native", which is what empty means, "flat", "debezium"
	// or "cloudevents"; see package encoding. The format debezium names its subjects
	// itself, which all begin with Debezium.TopicPrefix.
	Format string
	// Debezium has the settings of the format debezium; only for it.
	Debezium *encoding.DebeziumOptions
	// CloudEvents has the settings of the format cloudevents; only for it.
	CloudEvents *encoding.CloudEventsOptions
}

// Sink writes events to subjects of one JetStream stream, a message each, with the
// position behind them in the same atomic batch (P2). A transaction of more
// messages than a batch takes becomes visible in several. It is safe for several
// goroutines, its writers are not.
type Sink struct {
	backend   *backend
	retention time.Duration
	position  string // subject
	subject   string // pattern
	messages  string // pattern
	format    string
	options   encoding.Options
}

const (
	defaultStream   = "changes"
	defaultSubject  = "changes.{source}.{schema}.{table}"
	defaultMessages = "changes.{source}.message"
	// positions is what the subjects of positions begin with.
	positions = "entrain.position."
)

// debezium is the format that names its subjects itself.
const debezium = "debezium"

var formats = []string{"native", "flat", debezium, "cloudevents"}

// NewSink checks the configuration; it does not dial.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if cfg.Pipeline == "" {
		return nil, errors.New("nats sink: the pipeline's name is missing")
	}
	cfg.Server.Stream = cmp.Or(cfg.Server.Stream, defaultStream)
	b, err := cfg.Server.backend()
	if err != nil {
		return nil, err
	}
	s := &Sink{
		backend: b, retention: cfg.Server.Retention, position: positions + b.name + "." + token(cfg.Pipeline),
		subject: cmp.Or(cfg.Subject, defaultSubject), messages: cmp.Or(cfg.MessageSubject, defaultMessages),
		format: cmp.Or(cfg.Format, "native"), options: encoding.Options{Debezium: cfg.Debezium, CloudEvents: cfg.CloudEvents},
	}
	if !slices.Contains(formats, s.format) {
		return nil, fmt.Errorf("nats sink: unknown format %q, expected %s", s.format, strings.Join(formats, ", "))
	}
	if _, err := encoding.New(s.format, s.options); err != nil {
		return nil, fmt.Errorf("nats sink: %w", err)
	}
	if strings.Contains(s.messages, "{table}") || strings.Contains(s.messages, "{schema}") {
		return nil, errors.New("nats sink: message_subject is for events without a table: only {source} can stand in it")
	}
	patterns := []string{s.subject, s.messages}
	if s.format == debezium {
		patterns, err = nil, s.checkDebezium(cfg)
	}
	for _, pattern := range patterns {
		err = errors.Join(err, checkPattern(pattern))
	}
	if err != nil {
		return nil, err
	}
	b.grants = s.grants()
	return s, nil
}

// checkDebezium refuses settings under which the format's subjects could not be told.
func (s *Sink) checkDebezium(cfg SinkConfig) error {
	if cfg.Subject != "" || cfg.MessageSubject != "" {
		return errors.New("nats sink: subject and message_subject are not for the format debezium, which names its subjects itself: debezium.topic_prefix is")
	}
	if cfg.Debezium == nil || cfg.Debezium.TopicPrefix == "" {
		return errors.New("nats sink: the format debezium needs debezium.topic_prefix, which its subjects begin with")
	}
	prefix := cfg.Debezium.TopicPrefix
	if encoding.TopicName(prefix) != prefix || topicSubject(prefix) != prefix {
		return fmt.Errorf("nats sink: debezium.topic_prefix %q makes no subject: words of letters, digits, - and _ with dots in between", prefix)
	}
	return nil
}

// topicSubject is the subject of a topic's name, which has no other characters than
// letters, digits, - and _ and dots: a word without any becomes _.
func topicSubject(topic string) string {
	words := strings.Split(topic, ".")
	for i, w := range words {
		words[i] = cmp.Or(w, "_")
	}
	return strings.Join(words, ".")
}

// subjects are what the JetStream stream has to have.
func (s *Sink) subjects() []string {
	at := positions + s.backend.name + ".*"
	if s.format == debezium {
		return []string{s.options.Debezium.TopicPrefix + ".>", at}
	}
	return []string{wildcard(s.subject), wildcard(s.messages), at}
}

// checkPattern refuses what makes no subject, or more than one.
func checkPattern(pattern string) error {
	filled := subjectOf(pattern, "a", &entrain.Table{Schema: "a", Name: "a"})
	first, _, _ := strings.Cut(pattern, ".")
	if strings.ContainsAny(filled, "*> \t\r\n{}") || strings.ContainsAny(first, "{$") || slices.Contains(strings.Split(filled, "."), "") {
		return fmt.Errorf("nats sink: %q makes no subject: words with dots in between, with {source}, {schema} and {table} in all but the first", pattern)
	}
	return nil
}

// Guarantees implements [entrain.Guarantor].
func (s *Sink) Guarantees() entrain.Guarantees {
	return entrain.Guarantees{Once: true, Why: fmt.Sprintf("NATS: a transaction of more than %d messages becomes visible in parts, and "+
		"a server before 2.12 shows messages one by one and may have some twice after a crash", batchMessages)}
}

// Open implements [entrain.Sink]. The writer is an [entrain.Positioner]. The
// JetStream stream is made if it is missing.
func (s *Sink) Open(ctx context.Context) (entrain.Writer, error) {
	enc, err := encoding.New(s.format, s.options)
	if err != nil {
		return nil, fmt.Errorf("open nats sink: %w", err)
	}
	nc, js, err := s.backend.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("open nats sink: %w", err)
	}
	stream, err := s.stream(ctx, js)
	if err != nil {
		err = s.backend.denied(ctx, nc, err)
		nc.Close()
		return nil, err
	}
	is := stream.CachedInfo().Config
	deb, _ := enc.(*encoding.Debezium)
	w := &writer{
		sink: s, enc: enc, debezium: deb, lost: make(chan error, 1), owner: process + "." + rand.Text(),
		seq:     &sequence{backend: s.backend, nc: nc, js: js, stream: stream, subject: s.position, atomic: is.AllowAtomicPublish && !s.backend.withoutBatches},
		forever: is.AllowMsgTTL, subjects: map[*entrain.Table]string{},
	}
	w.watch(context.WithoutCancel(ctx)) // the session outlives its opening
	return w, nil
}

// process tells the processes apart.
var process = rand.Text()

// stream returns the JetStream stream with all that it has to have.
func (s *Sink) stream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	wanted := s.subjects()
	cfg := jetstream.StreamConfig{
		Name: s.backend.name, Subjects: covering(nil, wanted), Description: "changes written by entrain", Storage: jetstream.FileStorage,
		MaxBytes: s.backend.maxBytes, MaxAge: s.retention, Replicas: s.backend.replicas,
		AllowAtomicPublish: !s.backend.withoutBatches, AllowMsgTTL: true,
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = -1
	}
	stream, err := s.backend.stream(ctx, js, cfg)
	if err == nil {
		is := stream.CachedInfo().Config
		with := covering(is.Subjects, wanted)
		if len(with) != len(is.Subjects) || is.MaxAge != cfg.MaxAge || !is.AllowMsgTTL || is.AllowAtomicPublish != cfg.AllowAtomicPublish {
			is.Subjects, is.MaxAge, is.AllowMsgTTL, is.AllowAtomicPublish = with, cfg.MaxAge, true, cfg.AllowAtomicPublish
			stream, err = js.UpdateStream(ctx, is)
		}
	}
	var api *jetstream.APIError
	switch {
	case err == nil:
		return stream, nil
	case errors.As(err, &api) && api.ErrorCode == codeOverlap:
		return nil, s.stopOverlap(cfg.Subjects, err)
	}
	return nil, fmt.Errorf("open stream %s: %w", s.backend.name, mark(ctx, err))
}

// codeOverlap is the server's code for subjects that another stream has.
const codeOverlap = 10065

func (s *Sink) stopOverlap(subjects []string, err error) error {
	return &entrain.Stop{
		Code: codeForeign,
		What: fmt.Sprintf("another JetStream stream on %s has subjects that %s is to have: %s", s.backend.url, s.backend.name, strings.Join(subjects, ", ")),
		Why:  "a subject belongs to one stream, and changes and position have to be in the same one",
		Next: "nats stream ls --subjects; set stream, or subject and message_subject, in FILE; entrain run FILE",
		Err:  err,
	}
}

// covering is what a stream's subjects become so that all wanted are among them.
func covering(have, wanted []string) []string {
	have = slices.Clone(have)
	for _, w := range wanted {
		if slices.ContainsFunc(have, func(h string) bool { return covers(h, w) }) {
			continue
		}
		have = slices.DeleteFunc(have, func(h string) bool { return covers(w, h) })
		have = append(have, w)
	}
	return have
}

// covers reports whether each subject of narrow is one of wide.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "."), strings.Split(narrow, ".")
	for i, word := range w {
		switch {
		case word == ">":
			return i < len(n)
		case i >= len(n) || word != "*" && word != n[i] || word == "*" && n[i] == ">":
			return false
		}
	}
	return len(w) == len(n)
}

// subjectOf fills in a pattern.
func subjectOf(pattern, source string, t *entrain.Table) string {
	return strings.NewReplacer("{source}", token(source), "{schema}", token(t.Schema), "{table}", token(t.Name)).Replace(pattern)
}

// wildcard is a subject that stands for all that a pattern makes: a word with a
// name in it becomes *.
func wildcard(pattern string) string {
	words := strings.Split(pattern, ".")
	for i, w := range words {
		if strings.Contains(w, "{") {
			words[i] = "*"
		}
	}
	return strings.Join(words, ".")
}

// Teardown implements [entrain.Teardowner]: the position, not the changes.
func (s *Sink) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	nc, js, err := s.backend.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	stream, err := js.Stream(ctx, s.backend.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err == nil {
		_, err = stream.GetLastMsgForSubject(ctx, s.position)
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for the position %s: %w", s.position, mark(ctx, err))
	}
	return []entrain.Removal{{
		What: fmt.Sprintf("position %s in the JetStream stream %s on %s", s.position, s.backend.name, s.backend.url),
		SQL:  fmt.Sprintf("nats stream purge --force --subject %s %s", s.position, s.backend.name),
		Do:   s.forget,
	}}, nil
}

func (s *Sink) forget(ctx context.Context) error {
	nc, js, err := s.backend.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	stream, err := js.Stream(ctx, s.backend.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(s.position))
	}
	return mark(ctx, err)
}
