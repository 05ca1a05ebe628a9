package nats

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// backend implements [packed.Backend] on a JetStream server.
type backend struct {
	name     string // what the names of streams and subjects begin with
	replicas int
	maxBytes int64
	grants   grants // what the user has to be allowed
	url      string // for people
	dial     func(ctx context.Context, more ...natsgo.Option) (*natsgo.Conn, error)
	// room, if not nil, is asked before anything is written, whether there is so much.
	room func(least int64) error
	// nothing, if not nil, reports that nothing was ever written, so that it need not be
	// opened, and made, to look for it.
	nothing func() bool
	// embedded: nobody else can write to it.
	embedded bool
	// withoutBatches: messages are appended one by one, as on a server before 2.12.
	withoutBatches bool
}

const (
	// idKey is the key under which a stream's metadata has its identity.
	idKey = "entrain_id"
	// headerBytes is what a message needs beside its data, at most.
	headerBytes = 4 << 10
	// messageBytes is the largest message that is written, whatever the server takes.
	messageBytes = 1 << 20
	// dialTimeout bounds a connection's opening if the context does not, and then each
	// answer of a server elsewhere.
	dialTimeout = 10 * time.Second
	// embeddedTries is how often the embedded server is asked for a stream.
	embeddedTries = 3
)

// session opens a connection that lives as long as a session: when it breaks, the
// session is over, and the engine's next one begins with what is durable.
func (b *backend) session(ctx context.Context) (*natsgo.Conn, jetstream.JetStream, error) {
	return b.connect(ctx, natsgo.ErrorHandler(closeIfDenied))
}

// connect opens a connection to ask something.
func (b *backend) connect(ctx context.Context, more ...natsgo.Option) (*natsgo.Conn, jetstream.JetStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	timeout := dialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	nobody := func(*natsgo.Conn, *natsgo.Subscription, error) {} // the client would print what is denied
	options := []natsgo.Option{natsgo.Name("entrain"), natsgo.NoReconnect(), natsgo.Timeout(timeout), natsgo.ErrorHandler(nobody)}
	nc, err := b.dial(ctx, append(options, more...)...)
	if err != nil {
		var stop *entrain.Stop
		switch {
		case errors.As(err, &stop):
			return nil, nil, err
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, nil, b.unreachable(err)
	}
	answer := dialTimeout
	if b.embedded {
		answer = appendTimeout / embeddedTries // its disk may be busy, and no network is between
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(answer))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// Open implements [packed.Backend]. The embedded server is asked anew, by another
// connection, where it does not answer.
func (b *backend) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	for tries := 1; ; tries++ {
		s, err := b.openOnce(ctx, producer)
		if !b.embedded || tries == embeddedTries || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return s, err
		}
	}
}

func (b *backend) openOnce(ctx context.Context, producer string) (*packed.Sequence, error) {
	nc, js, err := b.session(ctx)
	if err != nil {
		return nil, err
	}
	s := &sequence{nc: nc, js: js, room: b.room, backend: b}
	if err := s.open(ctx, b, token(producer)); err != nil {
		err = b.denied(ctx, nc, err)
		nc.Close()
		return nil, err
	}
	q := &packed.Sequence{
		ID: s.id, MessageBytes: min(messageBytes, int(nc.MaxPayload())-headerBytes), Tail: s, History: s, State: s, Watch: s.watch,
		Close: func() error {
			nc.Close()
			return nil
		},
	}
	if name := b.name + "_" + token(producer); !b.embedded {
		q.Look = func(number uint64) string { return fmt.Sprintf("nats stream get %s %d", name, number) }
		q.Remove = func(number uint64) string { return fmt.Sprintf("nats stream rmm --force %s %d", name, number) }
	}
	return q, nil
}

func (s *sequence) open(ctx context.Context, b *backend, producer string) error {
	s.subject = b.name + ".log." + producer
	s.beside = b.name + ".values." + producer + "."
	limit := b.maxBytes
	if limit == 0 {
		limit = -1
	}
	var err error
	s.stream, err = b.stream(ctx, s.js, jetstream.StreamConfig{
		Name: b.name + "_" + producer, Subjects: []string{s.subject}, Description: "changes captured by entrain",
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxBytes: limit, Replicas: b.replicas,
		AllowAtomicPublish: !b.withoutBatches, Metadata: map[string]string{idKey: rand.Text()},
	})
	if err != nil {
		return fmt.Errorf("open stream %s_%s: %w", b.name, producer, opening(ctx, err))
	}
	if err := b.suits(s.stream, b.judgeChanges); err != nil {
		return err
	}
	s.grow(ctx, b)
	s.values, err = b.stream(ctx, s.js, jetstream.StreamConfig{
		Name: b.name + "=values_" + producer, Subjects: []string{s.beside + ">"}, Description: "positions and cursors of entrain",
		Storage: jetstream.FileStorage, MaxMsgsPerSubject: 1, Replicas: b.replicas,
	})
	if err != nil {
		return fmt.Errorf("open the stream of values of %s_%s: %w", b.name, producer, opening(ctx, err))
	}
	if err := b.suits(s.values, judgeValues); err != nil {
		return err
	}
	info := s.stream.CachedInfo()
	s.atomic = info.Config.AllowAtomicPublish
	s.id = info.Config.Metadata[idKey]
	if s.id == "" { // a server before 2.10 keeps no metadata
		s.id = info.Created.UTC().Format(time.RFC3339Nano)
	}
	return nil
}

// grow lets a stream that an older server made take batches, if the server does now. One
// that cannot be changed takes single messages on.
func (s *sequence) grow(ctx context.Context, b *backend) {
	is := s.stream.CachedInfo().Config
	if is.AllowAtomicPublish || b.withoutBatches || before(s.nc.ConnectedServerVersion(), batching) {
		return
	}
	is.AllowAtomicPublish = true
	if grown, err := s.js.UpdateStream(ctx, is); err == nil {
		s.stream = grown
	}
}

// stream returns a JetStream stream and makes it if it is missing. Its limit
// follows the configuration.
func (b *backend) stream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another process, just now
			s, err = js.Stream(ctx, cfg.Name)
		}
	}
	if err != nil {
		return nil, err
	}
	if is := s.CachedInfo().Config; cfg.MaxBytes != 0 && is.MaxBytes != cfg.MaxBytes {
		is.MaxBytes = cfg.MaxBytes
		return js.UpdateStream(ctx, is)
	}
	return s, nil
}

// suits is a stop for a stream that is there already and removes what no sink has
// read: the source would forget what is lost there.
func (b *backend) suits(s jetstream.Stream, judge func(jetstream.StreamConfig) []flaw) error {
	for _, f := range judge(s.CachedInfo().Config) {
		if f.status != entrain.FindingError {
			continue
		}
		name := s.CachedInfo().Config.Name
		stop := &entrain.Stop{
			Code: "nats_stream", What: fmt.Sprintf("the JetStream stream %s at %s is not to be written to", name, b.url), Why: f.why,
			Next: "entrain teardown FILE; entrain run FILE",
		}
		if f.edit != "" {
			stop.Next = "nats stream edit --force " + name + " " + f.edit + "; entrain run FILE"
		}
		return stop
	}
	return nil
}

// Producers implements [packed.Backend].
func (b *backend) Producers(ctx context.Context) ([]string, error) {
	if b.nothing != nil && b.nothing() {
		return nil, nil
	}
	nc, js, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	list := js.StreamNames(ctx, jetstream.WithStreamListSubject(b.name+".log.*"))
	producers := []string{}
	for name := range list.Name() {
		if t, ours := strings.CutPrefix(name, b.name+"_"); ours {
			producers = append(producers, untoken(t))
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, mark(ctx, err)
	}
	return producers, nil
}

// token writes a name so that it can be a part of a subject and of a stream's
// name: everything but letters, digits, - and _ becomes = and two hexadecimal
// digits a byte.
func token(name string) string {
	var t strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			t.WriteByte(c)
			continue
		}
		fmt.Fprintf(&t, "=%02X", c)
	}
	return t.String()
}

// untoken is the name that a token was made of.
func untoken(t string) string {
	var name strings.Builder
	for i := 0; i < len(t); i++ {
		var c byte
		if t[i] == '=' && i+2 < len(t) {
			if _, err := fmt.Sscanf(t[i+1:i+3], "%02X", &c); err == nil {
				name.WriteByte(c)
				i += 2
				continue
			}
		}
		name.WriteByte(t[i])
	}
	return name.String()
}

// unreachable is a server that takes no connection.
func (b *backend) unreachable(err error) error {
	u := &entrain.Unreachable{
		Why:  "the server is not running, its name or port is another one, or a firewall is in between",
		Next: fmt.Sprintf("nats --server %s server check connection", b.url),
		Err:  entrain.Retryable(fmt.Errorf("connect to NATS: %w: %w", entrain.ErrDisconnected, err)),
	}
	if why := refused(err); why != "" {
		u.Why, u.Err = why, fmt.Errorf("connect to NATS: %w", err)
	}
	return u
}

// refused is why another try would not be luckier; empty if it may be. Settings are
// named as the file calls them.
func refused(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired), errors.Is(err, natsgo.ErrAuthRevoked):
		return "the server refuses the user and the password in url, or those of the file credentials"
	case errors.As(err, &authority):
		return "the server's certificate is signed by nobody whom we trust: ca is to name a file with the certificate of who signed it"
	case errors.As(err, &host):
		return "the server's certificate is for another name than that in url"
	case errors.Is(err, natsgo.ErrSecureConnRequired):
		return "the server takes connections with TLS only: url is to begin with tls://, and ca to name who signed its certificate"
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return "the server has no TLS, which tls:// in url, ca or cert asks for"
	case strings.Contains(err.Error(), "remote error: tls: "):
		return "the server wants a certificate from us, or refuses ours: cert and key are to name files with one that it trusts"
	}
	return ""
}

// The server's codes of errors; see its errors.json.
const (
	codeWrongLast        = 10071
	codeNoResources      = 10023
	codeAccountResources = 10002
	codeStorageResources = 10047
	codeStoreFailed      = 10077
)

// mark makes an error of the server one of [packed]'s, and says whether another
// session may be luckier.
// A call whose own time is over, but not that of ctx, is such a one.
func mark(ctx context.Context, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &api):
		return entrain.Retryable(err)
	}
	switch int(api.ErrorCode) {
	case codeWrongLast:
		return fmt.Errorf("%w: %w", packed.ErrFenced, err)
	case codeNoResources, codeAccountResources, codeStorageResources:
		return fmt.Errorf("%w: %w", packed.ErrFull, err)
	case codeStoreFailed:
		if strings.Contains(api.Description, "maximum bytes") {
			return fmt.Errorf("%w: %w", packed.ErrFull, err)
		}
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return noJetStream(err)
	}
	return entrain.Retryable(err)
}

func noJetStream(err error) error {
	return &entrain.Unreachable{Why: "JetStream is off at the server, or for this account", Next: "nats account info", Err: entrain.Retryable(err)}
}

// opening is mark for the first questions of a session: a server without JetStream
// has nobody who answers them.
func opening(ctx context.Context, err error) error {
	if errors.Is(err, natsgo.ErrNoResponders) && ctx.Err() == nil {
		return noJetStream(err)
	}
	return mark(ctx, err)
}
