package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"github.com/entrainsync/entrain"
)

// codeDenied is of the stop for a right that is missing.
const codeDenied = "nats_denied"

// closeIfDenied ends a session whose message the server has denied, since it does not
// answer it: who waits for the answer learns it at once. Consumers that JetStream need not
// remove for us are left out.
func closeIfDenied(nc *natsgo.Conn, _ *natsgo.Subscription, err error) {
	if deniedNeed(err) != "" {
		nc.Close()
	}
}

// deniedNeed is the subject that an error denies; empty if we can do without.
func deniedNeed(err error) string {
	subject := deniedSubject(err)
	if strings.HasPrefix(subject, "$JS.API.CONSUMER.DELETE.") {
		return ""
	}
	return subject
}

// denied makes a stop of an error of a session that the server has denied something; it
// returns other errors as they are.
func (b *backend) denied(ctx context.Context, nc *natsgo.Conn, err error) error {
	subject := deniedNeed(nc.LastError())
	if err == nil || ctx.Err() != nil || subject == "" {
		return err
	}
	return &entrain.Stop{
		Code: codeDenied,
		What: fmt.Sprintf("the user may not use the subject %s at %s: %v", subject, b.url, nc.LastError()),
		Why:  "its permissions in the server's configuration do not allow it",
		Next: "there, at the user: " + b.grants.config() + "; restart the server; entrain run FILE",
		Err:  errors.Join(nc.LastError(), err),
	}
}
