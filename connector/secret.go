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

// A key=value string as libpq reads it, and the credentials in it: a value is in
// quotes or ends at a space without a backslash.
const dsnValue = `('(?:[^'\\]|\\.)*'|(?:\\.|[^\s\\'])*)`

var (
	wholeDSN  = regexp.MustCompile(`(?s)^(\s*\w+\s*=\s*` + dsnValue + `(\s|$))+$`)
	dsnSecret = regexp.MustCompile(`(?is)((?:^|\s)(?:password|sslpassword)\s*=\s*)` + dsnValue)
)

// What may be a credential in a text that is no connection string itself: in a
// URL all up to the line's last @, behind password= all up to the quotation's
// end, or the line's.
var (
	urlSecret    = regexp.MustCompile(`(://[^:@\n]*:).*@`)
	quotedSecret = regexp.MustCompile(`(?i)("(?:[^"\\\n]|\\.)*?passw(?:or)?d\s*=\s*)(?:[^"\\\n]|\\.)*(")|(passw(?:or)?d\s*=\s*).*`)
)

// MaskURLs masks the passwords of the connection URLs and key=value strings in a
// text for people, one that may quote what was written in a wrong place.
func MaskURLs(text string) string {
	text = urlSecret.ReplaceAllString(text, "${1}"+mask+"@")
	return quotedSecret.ReplaceAllString(text, "${1}${3}"+mask+"${2}")
}

// Reveal returns the text as it is.
func (s Secret) Reveal() string { return string(s) }

// String returns the text with every credential masked; a text in which no
// credential can be told from the rest is masked as a whole.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	text := string(s)
	if wholeDSN.MatchString(text) {
		return dsnSecret.ReplaceAllString(text, "${1}"+mask)
	}
	u, err := url.Parse(text)
	if err != nil || !strings.Contains(text, "://") || u.Opaque != "" || torn(u) {
		return mask
	}
	return maskURL(u)
}

// Torn reports whether the text is a URL with an @ where none belongs, or with a
// fragment: a password with / ? # or @ in it was not percent-encoded, so that
// pieces of it are taken for something else.
func (s Secret) Torn() bool {
	u, err := url.Parse(string(s))
	return err == nil && strings.Contains(string(s), "://") && torn(u)
}

func torn(u *url.URL) bool {
	for key := range u.Query() {
		if strings.Contains(key, "@") {
			return true
		}
	}
	return u.Fragment != "" || strings.Contains(u.EscapedPath(), "@")
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
