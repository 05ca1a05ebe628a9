package connector

import (
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Secret is a text that may hold a credential: a connection URL, a key=value
// connection string, a password. However it is printed, the credential shows
// as ***; Reveal alone returns it (P8).
type Secret string

const mask = "***"

var dsnSecret = regexp.MustCompile(`(?i)((?:^|\s)(?:password|sslpassword)\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)`)

// Reveal returns the text as it is.
func (s Secret) Reveal() string { return string(s) }

// String returns the text with every credential masked; a text in which no
// credential can be told from the rest is masked as a whole.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	text := string(s)
	if dsnSecret.MatchString(text) {
		return dsnSecret.ReplaceAllString(text, "${1}"+mask)
	}
	u, err := url.Parse(text)
	if err != nil || !strings.Contains(text, "://") || u.Opaque != "" {
		return mask
	}
	return maskURL(u)
}

// plainParameters are the parameters of a connection URL that are no secret.
var plainParameters = []string{
	"application_name", "connect_timeout", "dbname", "host", "hostaddr", "options", "port",
	"sslmode", "sslrootcert", "target_session_attrs", "user",
}

func maskURL(u *url.URL) string {
	const stand = "xxmaskxx" // what the URL's own escaping leaves alone
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), stand)
	}
	q := u.Query()
	for key := range q {
		if !slices.Contains(plainParameters, key) {
			q.Set(key, stand)
		}
	}
	u.RawQuery = q.Encode()
	return strings.ReplaceAll(u.String(), stand, mask)
}

// GoString masks as String does, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue masks as String does, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks as String does, for YAML and JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
