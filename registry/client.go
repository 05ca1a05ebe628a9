package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/entrainsync/entrain"
)

const (
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 16 << 20
	// idle is how long a connection waits for the next of a run of requests: there
	// are none between one shape and the next.
	idle = 200 * time.Millisecond
)

// Client is a session with one registry: it asks for each schema once. It is safe
// for several goroutines.
type Client struct {
	*settings
	api *sr.Client

	mu    sync.Mutex
	known map[Request]int // ids, by requests without what they are about
}

// New checks the configuration; it does not dial.
func New(cfg Config) (*Client, error) {
	s, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("schema_registry: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: s.tls, ForceAttemptHTTP2: true,
		IdleConnTimeout: idle}
	c := &Client{settings: s, known: map[Request]int{}}
	opts := []sr.ClientOpt{
		sr.URLs(s.urls...), sr.UserAgent("entrain"), sr.HTTPClient(&http.Client{
			Transport: limited{transport}, Timeout: s.timeout, CheckRedirect: stay,
		}),
	}
	switch {
	case s.token != "":
		opts = append(opts, sr.BearerToken(s.token))
	case s.user != "":
		opts = append(opts, sr.BasicAuth(s.user, s.password))
	}
	if c.api, err = sr.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("schema_registry: %w", err)
	}
	return c, nil
}

// limited is a transport whose answers end somewhere.
type limited struct{ *http.Transport }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	}
	return answer, err
}

// Part is which half of a record a schema is for.
type Part string

// The halves of a record.
const (
	Key   Part = "key"
	Value Part = "value"
)

// SubjectName returns the subject of a schema whose record (message, title) has
// the full name, as the strategy of the configuration says.
func (c *Client) SubjectName(topic, record string, part Part) string {
	switch c.strategy {
	case RecordName:
		return record
	case TopicRecordName:
		return topic + "-" + record
	}
	return topic + "-" + string(part)
}

// Request asks for the id of a schema.
type Request struct {
	// Subject as [Client.SubjectName] names it.
	Subject string
	Type    Type
	// Schema is its text.
	Schema string
	// Table and At say in errors what needs the schema: its rows, and the position
	// of the first of them. Table may be nil.
	Table *entrain.Table
	At    string
}

// Register returns the id of a schema, which is registered if it is not there.
// The errors: a [*entrain.Stop] schema_incompatible, schema_type,
// schema_missing, schema_refused, registry_denied or registry_redirect; a retryable one if the registry does not
// answer or says that it cannot now. It takes a few requests, each bounded by the
// configured time.
func (c *Client) Register(ctx context.Context, r Request) (int, error) {
	key := r
	key.Table, key.At = nil, ""
	c.mu.Lock()
	id, known := c.known[key]
	c.mu.Unlock()
	if known {
		return id, nil
	}
	id, err := c.find(ctx, &r)
	if err == nil && (id < 1 || id > math.MaxInt32) { // {} is an answer, too, of what is no registry
		err = c.stopRefused(&r, fmt.Errorf("the answer has no schema's id (%d)", id))
	}
	if err != nil {
		return 0, c.explain(&r, err)
	}
	c.mu.Lock()
	c.known[key] = id
	c.mu.Unlock()
	return id, nil
}

// find looks a schema up and registers it.
func (c *Client) find(ctx context.Context, r *Request) (int, error) {
	schema := sr.Schema{Schema: r.Schema, Type: types[r.Type]}
	there, err := c.api.LookupSchema(ctx, r.Subject, schema)
	if err == nil {
		return there.ID, nil
	}
	if !isMissing(err) {
		return 0, fmt.Errorf("look for the schema: %w", err)
	}
	if !c.register {
		return 0, c.stopMissing(r)
	}
	if err := c.examine(ctx, r, schema); err != nil {
		return 0, err
	}
	id, err := c.api.RegisterSchema(ctx, r.Subject, schema, -1, -1)
	if isConflict(err) {
		return 0, c.stopIncompatible(ctx, r, []string{err.Error()})
	}
	if err != nil {
		return 0, fmt.Errorf("register the schema: %w", err)
	}
	return id, nil
}

// examine asks whether a schema may follow those of its subject. A new subject
// gets a level if the registry would check nothing.
func (c *Client) examine(ctx context.Context, r *Request, schema sr.Schema) error {
	versions, err := c.api.SubjectVersions(ctx, r.Subject)
	if isMissing(err) || err == nil && len(versions) == 0 {
		return c.protect(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("look at the subject: %w", err)
	}
	const latest = -1
	last, err := c.api.SchemaByVersion(ctx, r.Subject, latest)
	if err != nil && !isMissing(err) {
		return fmt.Errorf("look at the subject's last version: %w", err)
	}
	if err == nil && last.Type != schema.Type { // what a registry says of the two is about one's grammar
		return c.stopType(r, last.Version, [2]sr.SchemaType{last.Type, schema.Type})
	}
	const all = -2 // which of the versions count, the subject's level says
	result, err := c.api.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), r.Subject, all, schema)
	if err != nil {
		return fmt.Errorf("check the compatibility: %w", err)
	}
	if !result.Is && len(result.Messages) > 0 {
		return c.stopIncompatible(ctx, r, result.Messages)
	}
	// A registry that says no without a reason has one for who wants to register.
	return nil
}

// protect gives a subject that is to be made the configured level, unless the
// registry has one for all.
func (c *Client) protect(ctx context.Context, r *Request) error {
	if c.level == sr.CompatNone {
		return nil
	}
	now := c.api.Compatibility(ctx, r.Subject)[0]
	if isMissing(now.Err) {
		now = c.api.Compatibility(ctx)[0]
	}
	if now.Err != nil {
		return fmt.Errorf("read the compatibility level: %w", now.Err)
	}
	if now.Level != sr.CompatNone {
		return nil
	}
	if err := c.api.SetCompatibility(ctx, sr.SetCompatibility{Level: c.level}, r.Subject)[0].Err; err != nil {
		return fmt.Errorf("set the compatibility level %s: %w", c.level, err)
	}
	return nil
}

var types = map[Type]sr.SchemaType{Avro: sr.TypeAvro, Protobuf: sr.TypeProtobuf, JSON: sr.TypeJSON}

// status returns the HTTP status of an answer that was an error; 0 for none.
func status(err error) (code int, answer *sr.ResponseError) {
	if !errors.As(err, &answer) {
		return 0, nil
	}
	return answer.StatusCode, answer
}

// isMissing reports whether the registry says that it does not have what was asked
// for; a server that is no registry answers without a code.
func isMissing(err error) bool {
	code, answer := status(err)
	return code == http.StatusNotFound && answer.ErrorCode >= 40400 && answer.ErrorCode < 40500
}

func isConflict(err error) bool {
	code, _ := status(err)
	return code == http.StatusConflict
}

// address names the registry for people.
func (c *Client) address() string { return strings.Join(c.urls, ",") }
