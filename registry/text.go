package registry

import (
	"encoding/json"
	"net/url"
	"strings"
)

// clean puts a registry's reason on one line, without the class that threw it.
func clean(reason string) string {
	reason = strings.Join(strings.Fields(reason), " ")
	return strings.TrimPrefix(reason, "io.apicurio.registry.rules.RuleViolationException: ")
}

// escape makes a subject a part of a path.
func escape(subject string) string { return url.PathEscape(subject) }

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// body is what registers a schema by hand.
func body(r *Request) string {
	b := struct {
		Schema string `json:"schema"`
		Type   string `json:"schemaType,omitempty"`
	}{Schema: r.Schema}
	if r.Type != Avro {
		b.Type = types[r.Type].String()
	}
	text, _ := json.Marshal(b) // strings only
	return string(text)
}
