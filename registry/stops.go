package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/entrainsync/entrain"
)

// explain makes of an error what the engine can act on.
func (c *Client) explain(r *Request, err error) error {
	var stop *entrain.Stop
	if errors.As(err, &stop) || errors.Is(err, context.Canceled) {
		return err
	}
	var to *elsewhere
	if errors.As(err, &to) {
		return c.stopElsewhere(r, to)
	}
	err = fmt.Errorf("schema registry %s, subject %s: %w", c.address(), r.Subject, err)
	code, answer := status(err)
	switch {
	case answer == nil: // no answer
		return entrain.Retryable(&entrain.Unreachable{
			Why: "the registry is down, or schema_registry.url is another server's", Next: c.curl("", "/subjects"), Err: err,
		})
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return c.stopDenied(r, err)
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return entrain.Retryable(err)
	}
	return c.stopRefused(r, err)
}

// about says what needs a schema.
func (r *Request) about() string {
	if r.Table == nil {
		return "the schema of subject " + r.Subject
	}
	return fmt.Sprintf("the schema of table %s (subject %s)", r.Table, r.Subject)
}

func (c *Client) stopIncompatible(ctx context.Context, r *Request, reasons []string) error {
	for i := range reasons {
		reasons[i] = clean(reasons[i])
	}
	const latest = -1
	if last, err := c.api.SchemaByVersion(ctx, r.Subject, latest); err == nil {
		if what := changes(r.Type, last.Schema.Schema, r.Schema); what != "" {
			reasons = append(reasons, fmt.Sprintf("compared to version %d: %s", last.Version, what))
		}
	}
	level := "BACKWARD"
	if now := c.api.Compatibility(ctx, r.Subject)[0]; now.Err == nil {
		level = now.Level.String()
	} else if now := c.api.Compatibility(ctx)[0]; now.Err == nil {
		level = now.Level.String()
	}
	return &entrain.Stop{
		Code: "schema_incompatible",
		What: fmt.Sprintf("%s at %s is not compatible (%s) with the versions before: %s", r.about(), r.At, level, strings.Join(reasons, "; ")),
		Why:  "nothing of the new shape was written: consumers that follow the subject could not read it",
		Next: fmt.Sprintf("when the consumers can read it, let this one version pass: %s; then: entrain run FILE; and when it runs: %s",
			c.level0(r.Subject, "NONE"), c.level0(r.Subject, level)),
		Data:  true,
		Table: r.Table,
	}
}

// level0 is the command that gives a subject a level.
func (c *Client) level0(subject, level string) string {
	return c.curl(fmt.Sprintf(`-X PUT -H 'Content-Type: application/vnd.schemaregistry.v1+json' --data '{"compatibility":"%s"}' `, level), "/config/"+escape(subject))
}

// curl is a command for the first of the addresses.
func (c *Client) curl(options, path string) string {
	login := ""
	switch {
	case c.token != "":
		login = `-H "Authorization: Bearer $TOKEN" `
	case c.user != "":
		login = "-u " + quote(c.user) + " "
	}
	return "curl -fsS " + login + options + quote(c.urls[0]+path)
}

func (c *Client) stopMissing(r *Request) error {
	return &entrain.Stop{
		Code: "schema_missing",
		What: fmt.Sprintf("%s at %s is not registered", r.about(), r.At),
		Why:  "register is false in FILE, so that schemas are registered by people",
		Next: "register it: " + c.curl("-X POST -H 'Content-Type: application/vnd.schemaregistry.v1+json' --data "+quote(body(r))+" ",
			"/subjects/"+escape(r.Subject)+"/versions") + "; then: entrain run FILE",
		Table: r.Table,
	}
}

func (c *Client) stopDenied(r *Request, err error) error {
	return &entrain.Stop{
		Code: "registry_denied",
		What: fmt.Sprintf("the schema registry does not let us read or write %s", r.about()),
		Why:  "user, password or token of schema_registry are wrong, or lack a right",
		Next: "correct schema_registry in FILE; this must answer: " + c.curl("", "/subjects") + "; then: entrain run FILE",
		Err:  err,
	}
}

func (c *Client) stopRefused(r *Request, err error) error {
	return &entrain.Stop{
		Code:  "schema_refused",
		What:  fmt.Sprintf("the schema registry does not take %s at %s", r.about(), r.At),
		Why:   "it does not know the schema's language, the subject is read-only, or schema_registry.url is no registry's",
		Next:  "see that this answers with a list: " + c.curl("", "/subjects") + ", and this with READWRITE: " + c.curl("", "/mode") + "; then: entrain run FILE",
		Table: r.Table,
		Err:   err,
	}
}

// stopType is for a subject whose versions are in another language than the schema.
func (c *Client) stopType(r *Request, version int, types [2]sr.SchemaType) error {
	return &entrain.Stop{
		Code: "schema_type",
		What: fmt.Sprintf("%s at %s: version %d of the subject is %s, and this pipeline writes %s", r.about(), r.At, version, types[0], types[1]),
		Why:  "consumers that follow the subject could not read it, and the registry cannot compare the two",
		Next: fmt.Sprintf("choose another topic, format or schema_registry.subject in FILE; or, when nobody reads by it any more, remove it for good: %s && %s; then: entrain run FILE",
			c.curl("-X DELETE ", "/subjects/"+escape(r.Subject)), c.curl("-X DELETE ", "/subjects/"+escape(r.Subject)+"?permanent=true")),
		Data:  true,
		Table: r.Table,
	}
}
