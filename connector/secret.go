package connector

import (
	"log/slog"
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
	u, ok := splitURL(text)
	if !ok || u.torn() || !plainHosts.MatchString(u.hosts) || strings.Contains(u.user, "?") {
		return mask
	}
	return u.masked()
}

// Torn reports whether the text is a URL with an @ where none belongs, or with a
// fragment: a password with / ? # or @ in it was not percent-encoded, so that
// pieces of it are taken for something else.
func (s Secret) Torn() bool {
	u, ok := splitURL(string(s))
	return ok && u.torn()
}

// Query returns the parameters of a connection URL, and what is in front of
// their question mark; a text that has none is all in front.
func (s Secret) Query() (front, query string) {
	u, ok := splitURL(string(s))
	if !ok || !u.hasQuery {
		return string(s), ""
	}
	return strings.TrimSuffix(string(s), "?"+u.query), u.query
}

// urlParts is a connection URL as libpq reads it: an @ in front of the first /
// ends the credentials, whatever is in them. net/url reads some of them in
// another way and refuses several hosts.
type urlParts struct {
	scheme, user, password, hosts, path, query string
	hasUser, hasPassword, hasQuery             bool
}

var (
	schemeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)
	plainHosts = regexp.MustCompile(`^((\[[^]]*\]|[^][:,]*)(:\d*)?(,|$))*$`)
)

func splitURL(text string) (u urlParts, ok bool) {
	u.scheme, text, ok = strings.Cut(text, "://")
	if !ok || !schemeName.MatchString(u.scheme) {
		return u, false
	}
	if end := strings.IndexAny(text, "@/"); end >= 0 && text[end] == '@' {
		u.user, u.password, u.hasPassword = strings.Cut(text[:end], ":")
		u.hasUser, text = true, text[end+1:]
	}
	text, u.query, u.hasQuery = strings.Cut(text, "?")
	slash := strings.IndexByte(text+"/", '/')
	u.hosts, u.path = text[:slash], text[slash:]
	return u, true
}

// otherParameters are those in whose values an @ may be, too.
var otherParameters = []string{"passfile", "password", "service", "servicefile", "sslcert", "sslkey", "sslpassword"}

// torn allows an @ in the value of a known parameter: user=me@org.
func (u urlParts) torn() bool {
	for pair := range strings.SplitSeq(u.query, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if strings.Contains(pair, "@") && !isPlain(key) && !slices.Contains(otherParameters, key) {
			return true
		}
	}
	return strings.ContainsAny(u.hosts+u.path, "@#") || strings.Contains(u.query, "#")
}

// plainParameters are the parameters of a connection URL that are no secret.
var plainParameters = []string{
	"application_name", "connect_timeout", "dbname", "host", "hostaddr", "options", "port",
	"sslmode", "sslrootcert", "target_session_attrs", "user",
}

func isPlain(key string) bool { return slices.Contains(plainParameters, key) }

func (u urlParts) masked() string {
	text := u.scheme + "://" + u.user
	if u.hasPassword {
		text += ":" + mask
	}
	if u.hasUser {
		text += "@"
	}
	text += u.hosts + u.path
	if !u.hasQuery {
		return text
	}
	pairs := strings.Split(u.query, "&")
	for i, pair := range pairs {
		key, _, found := strings.Cut(pair, "=")
		switch {
		case !found && pair != "":
			pairs[i] = mask
		case found && !isPlain(key):
			pairs[i] = key + "=" + mask
		}
	}
	return text + "?" + strings.Join(pairs, "&")
}

// GoString masks as String does, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue masks as String does, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks as String does, for YAML and JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
