package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// The codes of the findings.
const (
	codeServer = "nats_server"
	codeStream = "nats_stream"
	codeRights = "nats_rights"
)

// Codes implements [entrain.Checker].
func (l *Log) Codes() []string { return []string{codeServer, codeStream, codeRights} }

// Check implements [entrain.Checker]. Of an embedded stream there is nothing to say.
func (l *Log) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	if err := ctx.Err(); err != nil || l.server != nil {
		return entrain.Report{Server: "embedded stream"}, err
	}
	return l.backend.check(ctx, token(l.producer))
}

func (b *backend) check(ctx context.Context, producer string) (entrain.Report, error) {
	report := entrain.Report{Server: "NATS at " + b.url, Connect: b.url}
	nc, js, err := b.connect(ctx)
	if err != nil {
		return report, err
	}
	defer nc.Close()
	rights, err := b.checkRights(ctx, nc, producer)
	if err != nil {
		return report, err
	}
	server := b.checkServer(ctx, nc, js, rights)
	var streams []entrain.Finding
	if len(rights) == 0 && server.Status != entrain.FindingError {
		if streams, err = b.checkStreams(ctx, js, producer); err != nil {
			return report, err
		}
	}
	report.Findings = append(coded(codeServer, server), coded(codeStream, streams...)...)
	report.Findings = append(report.Findings, coded(codeRights, rights...)...)
	for i := range report.Findings {
		f := &report.Findings[i]
		f.Doc = "stream.md#" + f.Code
		if f.Object == "" {
			f.Object = report.Server
		}
	}
	return report, nil
}

// coded gives findings their code; without any all is well.
func coded(code string, found ...entrain.Finding) []entrain.Finding {
	if len(found) == 0 {
		found = []entrain.Finding{{}}
	}
	for i := range found {
		found[i].Code = code
	}
	return found
}

// batching is the first version that takes several messages as one.
var batching = [2]int{2, 12}

// before reports whether a version is before another; one that cannot be read is
// not.
func before(version string, than [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	return err == nil && errMinor == nil && (major < than[0] || major == than[0] && minor < than[1])
}

// checkServer asks for JetStream only if we may.
func (b *backend) checkServer(ctx context.Context, nc *natsgo.Conn, js jetstream.JetStream, denied []entrain.Finding) entrain.Finding {
	var found entrain.Finding
	if len(denied) == 0 {
		if _, err := js.AccountInfo(ctx); err != nil {
			found.Status = entrain.FindingError
			found.Why = fmt.Sprintf("JetStream does not answer: it is off at the server, or for this account (%v)", err)
			found.Fix = []entrain.Fix{{Where: "the server's configuration file", Shell: "echo 'jetstream { store_dir: /var/lib/nats, sync_interval: always }' >> nats-server.conf", Restart: true}}
			return found
		}
	}
	if version := nc.ConnectedServerVersion(); before(version, batching) {
		found.Status = entrain.FindingWarning
		found.Why = fmt.Sprintf("it is version %s: before 2.12 messages are appended one by one, each waiting for the one before, which is slower "+
			"the farther the server is; what is promised is the same", version)
	}
	return found
}

// probe is a message that does nothing, whatever the server makes of it.
func probe(subject string, body []byte) *natsgo.Msg {
	m := natsgo.NewMsg(subject)
	m.Data = body
	if !strings.HasPrefix(subject, "$") {
		m.Header.Set(jetstream.ExpectedStreamHeader, "entrain-check") // no stream of ours is called so
	}
	return m
}

// checkRights tries subjects: the server says which ones it denies before it
// answers the PING behind them.
func (b *backend) checkRights(ctx context.Context, nc *natsgo.Conn, producer string) ([]entrain.Finding, error) {
	var found []entrain.Finding
	name := b.name + "_" + producer
	for _, p := range []struct {
		subject, right string
		body           []byte
	}{
		{"$JS.API.STREAM.INFO." + name, "$JS.API.>", nil},
		{"$JS.API.STREAM.CREATE." + name, "$JS.API.>", []byte("{}")}, // of no name: refused
		{b.name + ".log." + producer, b.name + ".>", nil},
		{b.name + ".values." + producer + ".check", b.name + ".>", nil},
	} {
		if err := nc.PublishMsg(probe(p.subject, p.body)); err != nil {
			return nil, mark(ctx, err)
		}
		denied, err := denies(ctx, nc, p.subject)
		if err != nil {
			return nil, err
		}
		if denied {
			found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "subject " + p.subject,
				Why: "the user may not publish to it: in the server's configuration, permissions: { publish: { allow: [\"$JS.API.>\", \"$JS.ACK.>\", \"" +
					b.name + ".>\"] } } lets it"})
		}
	}
	inbox := natsgo.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, mark(ctx, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	denied, err := denies(ctx, nc, inbox)
	if denied {
		found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "subject _INBOX.>",
			Why: "the user may not subscribe to it, and gets no answers: in the server's configuration, permissions: { subscribe: { allow: [\"_INBOX.>\"] } } lets it"})
	}
	return found, err
}

// denies reports whether the server has denied the subject.
func denies(ctx context.Context, nc *natsgo.Conn, subject string) (bool, error) {
	within, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := nc.FlushWithContext(within); err != nil {
		return false, fmt.Errorf("ask the server for rights: %w", mark(ctx, err))
	}
	last := nc.LastError()
	return errors.Is(last, natsgo.ErrPermissionViolation) && strings.Contains(strings.ToLower(last.Error()), strings.ToLower(subject)), nil
}

// checkStreams looks at streams that are there already.
func (b *backend) checkStreams(ctx context.Context, js jetstream.JetStream, producer string) ([]entrain.Finding, error) {
	var found []entrain.Finding
	for _, which := range []struct {
		name  string
		judge func(jetstream.StreamConfig) []flaw
	}{{b.name + "_" + producer, b.judgeChanges}, {b.name + "=values_" + producer, judgeValues}} {
		s, err := js.Stream(ctx, which.name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at stream %s: %w", which.name, mark(ctx, err))
		}
		for _, f := range which.judge(s.CachedInfo().Config) {
			one := entrain.Finding{Status: f.status, Object: "stream " + which.name, Why: f.why}
			if f.edit != "" {
				one.Fix = []entrain.Fix{{Where: "NATS at " + b.url, Shell: "nats stream edit --force " + which.name + " " + f.edit}}
			}
			found = append(found, one)
		}
	}
	return found, nil
}

// flaw is a limit of a stream under which changes get lost.
type flaw struct {
	status entrain.FindingStatus
	why    string
	edit   string // options of nats stream edit; empty: it cannot be changed
}

// judgeChanges: everything stays until all sinks have it.
func (b *backend) judgeChanges(c jetstream.StreamConfig) []flaw {
	flaws := judgeBoth(c)
	if c.Discard != jetstream.DiscardNew {
		flaws = append(flaws, flaw{entrain.FindingError, "when it is full it removes the oldest messages (discard: old), changes that no sink has read among them; " +
			"with discard: new capture waits", "--discard=new"})
	}
	if c.MaxMsgsPerSubject > 0 {
		flaws = append(flaws, flaw{entrain.FindingError, fmt.Sprintf("it keeps %d messages a subject, and all changes have one subject", c.MaxMsgsPerSubject),
			"--max-msgs-per-subject=-1"})
	}
	if c.MaxMsgSize > 0 && int(c.MaxMsgSize) < messageBytes+headerBytes {
		flaws = append(flaws, flaw{entrain.FindingError, fmt.Sprintf("it takes messages of %d bytes, and ours have up to %d", c.MaxMsgSize, messageBytes+headerBytes),
			"--max-msg-size=-1"})
	}
	if c.Replicas < b.replicas {
		flaws = append(flaws, flaw{entrain.FindingWarning, fmt.Sprintf("its messages are on %d servers and replicas is %d in the file, which counts when it is made",
			c.Replicas, b.replicas), fmt.Sprintf("--replicas=%d", b.replicas)})
	}
	return flaws
}

// judgeValues: the last value of each key stays.
func judgeValues(c jetstream.StreamConfig) []flaw {
	flaws := judgeBoth(c)
	if c.Discard != jetstream.DiscardNew && (c.MaxBytes > 0 || c.MaxMsgs > 0) {
		flaws = append(flaws, flaw{entrain.FindingError, "when it is full it removes the oldest values: positions and what the capture remembers",
			"--max-bytes=-1 --max-msgs=-1"})
	}
	return flaws
}

// judgeBoth is what no stream of ours may have.
func judgeBoth(c jetstream.StreamConfig) []flaw {
	var flaws []flaw
	if c.MaxAge > 0 {
		flaws = append(flaws, flaw{entrain.FindingError, "it removes messages after " + c.MaxAge.Round(time.Second).String() + ", read or not", "--max-age=-1"})
	}
	if c.Storage != jetstream.FileStorage {
		flaws = append(flaws, flaw{entrain.FindingError, "it is in the server's memory and gone when that ends: entrain teardown FILE, then it is made anew", ""})
	}
	if c.Retention != jetstream.LimitsPolicy {
		flaws = append(flaws, flaw{entrain.FindingError, "it removes what one consumer has acknowledged, or what none waits for (retention): " +
			"entrain teardown FILE, then it is made anew", ""})
	}
	return flaws
}
