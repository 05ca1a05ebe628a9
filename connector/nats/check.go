package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	x := &examination{backend: b, nc: nc, js: js, page: "stream.md", older: "messages are appended one by one, " +
		"each waiting for the one before, which is slower the farther the server is; what is promised is the same"}
	name := b.name + "_" + producer
	wishes := []wish{
		{subject: "$JS.API.STREAM.INFO." + name},
		{subject: "$JS.API.STREAM.CREATE." + name, body: []byte("{}")}, // of no name: refused
		{subject: b.name + ".log." + producer},
		{subject: b.name + ".values." + producer + ".check"},
	}
	err = x.examine(ctx, wishes, func() ([]entrain.Finding, error) { return b.checkStreams(ctx, js, producer) })
	report.Findings = x.findings
	return report, err
}

// examination is one of a server, for a stream or a sink.
type examination struct {
	backend *backend
	nc      *natsgo.Conn
	js      jetstream.JetStream
	page    string // of docs
	older   string // what a server before 2.12 costs

	findings []entrain.Finding
}

// examine looks at the server and at rights, and at streams if there are those.
func (x *examination) examine(ctx context.Context, wishes []wish, streams func() ([]entrain.Finding, error)) error {
	rights, err := x.checkRights(ctx, wishes)
	if err != nil {
		return err
	}
	server := x.checkServer(ctx, rights)
	var found []entrain.Finding
	if len(rights) == 0 && server.Status != entrain.FindingError {
		if found, err = streams(); err != nil {
			return err
		}
	}
	x.findings = slices.Concat(coded(codeServer, server), coded(codeStream, found...), coded(codeRights, rights...))
	for i := range x.findings {
		f := &x.findings[i]
		f.Doc = x.page + "#" + f.Code
		f.Object = cmp.Or(f.Object, "NATS at "+x.backend.url)
	}
	return nil
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
func (x *examination) checkServer(ctx context.Context, denied []entrain.Finding) entrain.Finding {
	var found entrain.Finding
	if len(denied) == 0 {
		if _, err := x.js.AccountInfo(ctx); err != nil {
			found.Status = entrain.FindingError
			found.Why = fmt.Sprintf("JetStream does not answer: it is off at the server, or for this account (%v)", err)
			found.Fix = []entrain.Fix{{Where: "the server's configuration file", Shell: "echo 'jetstream { store_dir: /var/lib/nats, sync_interval: always }' >> nats-server.conf", Restart: true}}
			return found
		}
	}
	if version := x.nc.ConnectedServerVersion(); before(version, batching) {
		found.Status = entrain.FindingWarning
		found.Why = fmt.Sprintf("it is version %s: before 2.12 %s", version, x.older)
	}
	return found
}

// checkStreams looks at streams that are there already.
func (b *backend) checkStreams(ctx context.Context, js jetstream.JetStream, producer string) ([]entrain.Finding, error) {
	found, err := b.checkRoom(ctx, js)
	if err != nil {
		return nil, err
	}
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
		found = append(found, b.found(which.name, which.judge(s.CachedInfo().Config))...)
	}
	return found, nil
}

// found makes findings of a stream's flaws.
func (b *backend) found(name string, flaws []flaw) []entrain.Finding {
	var found []entrain.Finding
	for _, f := range flaws {
		one := entrain.Finding{Status: f.status, Object: "stream " + name, Why: f.why}
		if f.edit != "" {
			one.Fix = []entrain.Fix{{Where: "NATS at " + b.url, Shell: "nats stream edit --force " + name + " " + f.edit}}
		}
		found = append(found, one)
	}
	return found
}
