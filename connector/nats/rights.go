package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// jetStreamAPI is where JetStream is asked.
const jetStreamAPI = "$JS.API.>"

// grants are the subjects that a user has to be allowed to publish to.
type grants []string

// config is how the server's configuration allows them, and the answers.
func (g grants) config() string {
	quoted := make([]string, len(g))
	for i, subject := range g {
		quoted[i] = strconv.Quote(subject)
	}
	return "permissions: { publish: { allow: [" + strings.Join(quoted, ", ") + `] }, subscribe: { allow: ["_INBOX.>"] } }`
}

// fix lets the user do what it is denied.
func (g grants) fix() []entrain.Fix {
	return []entrain.Fix{{Where: "the server's configuration file, at the user", Config: g.config(), Restart: true}}
}

// wish is a subject that has to be published to.
type wish struct {
	subject string
	body    []byte
	// unseen: others may listen to it, and are not to get anything.
	unseen bool
}

// refusedReply is a subject for answers that the server refuses of everybody, behind the
// rights and before anything is delivered.
const refusedReply = "_R_.entrain.check"

// probe is a message that does nothing, whatever the server makes of it.
func (w wish) probe() *natsgo.Msg {
	m := natsgo.NewMsg(w.subject)
	m.Data = w.body
	switch {
	case w.unseen:
		m.Reply = refusedReply
	case !strings.HasPrefix(w.subject, "$"):
		m.Header.Set(jetstream.ExpectedStreamHeader, "entrain-check") // no stream of ours is called so
	}
	return m
}

// checkRights tries subjects: the server says which ones it denies before it
// answers the PING behind them.
func (x *examination) checkRights(ctx context.Context, wishes []wish) ([]entrain.Finding, error) {
	var found []entrain.Finding
	for _, w := range wishes {
		if err := x.nc.PublishMsg(w.probe()); err != nil {
			return nil, mark(ctx, err)
		}
		denied, err := denies(ctx, x.nc, w.subject)
		if err != nil {
			return nil, err
		}
		if denied {
			found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "subject " + w.subject,
				Why: "the user may not publish to it", Fix: x.backend.grants.fix()})
		}
	}
	inbox := natsgo.NewInbox()
	sub, err := x.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, mark(ctx, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	denied, err := denies(ctx, x.nc, inbox)
	if denied {
		found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "subject _INBOX.>",
			Why: "the user may not subscribe to it, and gets no answers", Fix: x.backend.grants.fix()})
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
	return deniedSubject(nc.LastError()) == subject, nil
}

// deniedSubject is the subject that an error of the server denies; empty if it is about
// something else.
func deniedSubject(err error) string {
	if !errors.Is(err, natsgo.ErrPermissionViolation) {
		return ""
	}
	_, quoted, _ := strings.Cut(err.Error(), ` to "`)
	subject, _, _ := strings.Cut(quoted, `"`)
	return subject
}
