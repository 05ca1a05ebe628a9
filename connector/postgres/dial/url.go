package dial

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
)

// Secret is a connection URL or key=value string that may hold a credential;
// [connector.Secret] is one.
//
// [connector.Secret]: https://pkg.go.dev/github.com/entrainsync/entrain/connector#Secret
type Secret interface {
	// Reveal returns the text as it is.
	Reveal() string
	// Torn reports whether a character of a password has torn the text.
	Torn() bool
	// Query returns the parameters of a URL, and what is in front of them.
	Query() (front, query string)
}

// SessionSettings returns what makes every session read and write values the
// same way, whatever the server, the database or the role has set.
func SessionSettings() map[string]string { return maps.Clone(sessionSettings) }

var sessionSettings = map[string]string{
	"client_encoding":                     "UTF8",
	"datestyle":                           "ISO, YMD",
	"intervalstyle":                       "postgres",
	"timezone":                            "UTC",
	"extra_float_digits":                  "3",
	"bytea_output":                        "hex",
	"xmloption":                           "content",
	"lc_monetary":                         "C",
	"quote_all_identifiers":               "off",
	"jit":                                 "off", // catalog queries look dearer than they are
	"search_path":                         "pg_catalog",
	"standard_conforming_strings":         "on",
	"lock_timeout":                        "0",
	"statement_timeout":                   "0",
	"idle_in_transaction_session_timeout": "0",
}

const connectTimeout = 15 * time.Second

var dsnSSLMode = regexp.MustCompile(`(?i)(^|\s)sslmode\s*=`)

// ParseURL reads a connection URL or key=value string as libpq does (with
// PGPASSWORD, ~/.pgpass and the other PG variables), except for one default:
// without an sslmode word, hosts other than loopback and Unix sockets are
// spoken to over TLS only, and local ones in plain text.
func ParseURL(s Secret, application string) (*pgconn.Config, error) {
	text := s.Reveal()
	if s.Torn() {
		return nil, errors.New("connection URL: there is an @ or # behind the host" + escapeIt)
	}
	cfg, err := pgconn.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("connection URL: %w", redact(err))
	}
	if !hasSSLMode(s) {
		mode := "require"
		if allLocal(cfg) {
			mode = "disable"
		}
		if cfg, err = pgconn.ParseConfig(withSSLMode(s, mode)); err != nil {
			return nil, fmt.Errorf("connection URL: %w", redact(err))
		}
	}
	for name, value := range sessionSettings {
		cfg.RuntimeParams[name] = value
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = application
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	guardPassword(cfg)
	return cfg, nil
}

// FileChanges is the error of a connection string that was read before. Each
// session reads it anew, with the password file and the certificates beside it;
// one of those is being replaced, so that the next session may find it.
func FileChanges(err error) error { return entrain.Retryable(err) }

// isURL as the driver tells a URL from a key=value string.
func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

func hasSSLMode(s Secret) bool {
	if os.Getenv("PGSSLMODE") != "" {
		return true
	}
	if !isURL(s.Reveal()) {
		return dsnSSLMode.MatchString(s.Reveal())
	}
	_, query := s.Query()
	parameters, _ := url.ParseQuery(query) // what it cannot read, the driver refuses
	return parameters.Has("sslmode") || parameters.Get("ssl") == "true"
}

func withSSLMode(s Secret, mode string) string {
	word := "sslmode=" + mode
	if !isURL(s.Reveal()) {
		return s.Reveal() + " " + word
	}
	front, query := s.Query()
	if query != "" && !strings.HasSuffix(query, "&") {
		query += "&"
	}
	return front + "?" + query + word
}

func allLocal(cfg *pgconn.Config) bool {
	local := isLocal(cfg.Host)
	for _, f := range cfg.Fallbacks {
		local = local && isLocal(f.Host)
	}
	return local
}

func isLocal(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

const escapeIt = "; in a URL, write characters of a password such as % # / ? @ and spaces percent-encoded"

// redact is what the driver says about a connection string, without the string
// and from the first piece of it on that is quoted: a character of a password
// that has a meaning there can tear it anywhere.
func redact(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	text, _, cut := strings.Cut(strings.Replace(text, `missing "="`, "missing =", 1), `"`)
	text, _, value := strings.Cut(text, " value: ")
	if cut || value || strings.Contains(text, "as URL") {
		text = strings.TrimRight(text, "(: ") + escapeIt
	}
	return errors.New(text)
}
