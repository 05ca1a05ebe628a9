package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// codeForeign is of a finding and of a stop: a subject is another stream's.
const codeForeign = "nats_foreign"

// Codes implements [entrain.Checker].
func (s *Sink) Codes() []string { return []string{codeServer, codeStream, codeForeign, codeRights} }

// Check implements [entrain.Checker]. Nobody who listens to the sink's subjects gets
// anything by it.
func (s *Sink) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	b := s.backend
	report := entrain.Report{Server: "NATS at " + b.url, Connect: b.url}
	nc, js, err := b.connect(ctx)
	if err != nil {
		return report, err
	}
	defer nc.Close()
	x := &examination{backend: b, nc: nc, js: js, page: "nats.md", older: "messages are written one by one, the position behind them: some changes " +
		"come again after a crash, and the server drops these for as long as it remembers them (duplicate_window)"}
	if s.retention > 0 && before(nc.ConnectedServerVersion(), keeping) {
		x.older += "; before 2.11 the position grows too old with the messages (retention), and a pipeline that rests so long has lost it"
	}
	foreign := entrain.Finding{Code: codeForeign, Object: report.Server, Doc: x.page + "#" + codeForeign}
	err = x.examine(ctx, s.wishes(), func() (found []entrain.Finding, err error) {
		if foreign, err = s.checkOverlap(ctx, js, foreign); err == nil {
			found, err = s.checkStream(ctx, js, batched(!b.withoutBatches && !before(nc.ConnectedServerVersion(), batching)))
		}
		return found, err
	})
	if len(x.findings) > 0 {
		x.findings = append(x.findings, foreign)
	}
	report.Findings = x.findings
	return report, err
}

// keeping is the first version in which a message can be kept from growing too old.
var keeping = [2]int{2, 11}

// wishes are subjects that the sink publishes to: of a table, for example.
func (s *Sink) wishes() []wish {
	name := s.backend.name
	all := []wish{
		{subject: "$JS.API.STREAM.INFO." + name},
		{subject: "$JS.API.STREAM.CREATE." + name, body: []byte("{}")}, // of no name: refused
		{subject: "$JS.API.STREAM.PURGE." + name, unseen: true},
		{subject: s.position, unseen: true},
	}
	for _, pattern := range s.subjects() {
		if !strings.HasPrefix(pattern, positions) {
			all = append(all, wish{subject: strings.NewReplacer("*", "check", ">", "check.check").Replace(pattern), unseen: true})
		}
	}
	return all
}

func (s *Sink) grants() grants {
	return append(slices.Clone(grants(s.subjects())), jetStreamAPI)
}

// checkOverlap looks whether other streams have subjects of ours.
func (s *Sink) checkOverlap(ctx context.Context, js jetstream.JetStream, found entrain.Finding) (entrain.Finding, error) {
	for _, subject := range s.subjects() {
		list := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for name := range list.Name() {
			if name == s.backend.name {
				continue
			}
			found.Status, found.Object = entrain.FindingError, "stream "+name
			found.Why = fmt.Sprintf("it has subjects of %s, which the stream %s is to have: a subject belongs to one stream, and changes and position have to be in the same one",
				subject, s.backend.name)
			found.Fix = []entrain.Fix{{Where: "FILE, at the sink: that one for all, or other words for subject and message_subject", Config: "stream: " + name}}
			return found, nil
		}
		if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return found, fmt.Errorf("look which streams have the subject %s: %w", subject, mark(ctx, err))
		}
	}
	return found, nil
}

// checkStream looks at the stream, or at what its making would meet.
func (s *Sink) checkStream(ctx context.Context, js jetstream.JetStream, can batched) ([]entrain.Finding, error) {
	b := s.backend
	room, err := b.checkRoom(ctx, js)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, b.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return room, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", b.name, mark(ctx, err))
	}
	found := append(room, b.found(b.name, s.judgeSink(stream.CachedInfo().Config, can))...)
	shared, err := s.checkShared(ctx, stream)
	return append(found, shared...), err
}

// checkShared looks whether the position of another pipeline that rests could go with the
// oldest messages.
func (s *Sink) checkShared(ctx context.Context, stream jetstream.Stream) ([]entrain.Finding, error) {
	c := stream.CachedInfo().Config
	if c.Discard != jetstream.DiscardOld || s.backend.maxBytes == 0 && c.MaxMsgs <= 0 {
		return nil, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(positions+">"))
	if err != nil {
		return nil, fmt.Errorf("look at positions in stream %s: %w", s.backend.name, mark(ctx, err))
	}
	for subject := range info.State.Subjects {
		if subject == s.position {
			continue
		}
		why := fmt.Sprintf("other pipelines share it (%s): when it is full, the position of one that rests goes with the oldest messages (max_bytes, max_msgs), and it begins anew", subject)
		if c.MaxMsgs > 0 {
			return s.backend.found(c.Name, []flaw{{entrain.FindingError, why, "--max-msgs=-1"}}), nil
		}
		return []entrain.Finding{{Status: entrain.FindingError, Object: "stream " + c.Name, Why: why,
			Fix: []entrain.Fix{{Where: "FILE, at the sink, in the place of max_bytes", Config: "retention: 168h"}}}}, nil
	}
	return nil, nil
}

// checkRoom compares the room that the stream is to have with what the account may have.
func (b *backend) checkRoom(ctx context.Context, js jetstream.JetStream) ([]entrain.Finding, error) {
	account, err := js.AccountInfo(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the account: %w", mark(ctx, err))
	}
	most := account.Limits.MaxStore
	switch {
	case most > 0 && b.maxBytes > most:
		most = most / 10 * 9 // there is something beside
		return []entrain.Finding{{Status: entrain.FindingError, Object: "account", Why: fmt.Sprintf("it may store %d bytes, and max_bytes is %d: the stream cannot be made", account.Limits.MaxStore, b.maxBytes),
			Fix: []entrain.Fix{{Where: "FILE", Config: fmt.Sprintf("max_bytes: %d", most)}}}}, nil
	case account.Limits.MaxBytesRequired && b.maxBytes == 0:
		return []entrain.Finding{{Status: entrain.FindingError, Object: "account", Why: "its streams have to have a bound (max_bytes_required)",
			Fix: []entrain.Fix{{Where: "FILE", Config: "max_bytes: 10GB"}}}}, nil
	}
	return nil, nil
}
