package registry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/entrainsync/entrain/connector"
)

// Config is the section schema_registry of a pipeline file.
type Config struct {
	// URL of the registry, or several with commas between; with user and password
	// for basic authentication if it has any.
	URL connector.Secret `yaml:"url"`
	// User and Password log in by basic authentication, Token as a bearer.
	User     string           `yaml:"user"`
	Password connector.Secret `yaml:"password"`
	Token    connector.Secret `yaml:"token"`
	// TLS, if given, says whom to trust and who we are.
	TLS *TLSConfig `yaml:"tls"`
	// Timeout bounds a request. Default 10s.
	Timeout time.Duration `yaml:"timeout"`

	// Subject is the strategy that names subjects: topic_name (default),
	// record_name or topic_record_name.
	Subject string `yaml:"subject"`
	// Compatibility is the level that a subject gets when it is made and the
	// registry would check nothing (its level is NONE): backward (default),
	// backward_transitive, forward, forward_transitive, full, full_transitive; none
	// leaves it.
	Compatibility string `yaml:"compatibility"`
	// Register: schemas that are missing are registered. Default true; otherwise
	// they are a stop.
	Register *bool `yaml:"register"`
	// SchemaID says where a record tells its schema: prefix (Confluent's wire
	// format, the default of avro and protobuf), header (the default of JSON) or both.
	SchemaID string `yaml:"schema_id"`
	// AsString names types ("date"), and columns ("public.orders.due"), that are
	// text in schemas of avro, so that values have room which the type's own form has
	// not, such as infinity.
	AsString []string `yaml:"as_string"`
}

// TLSConfig says how connections are encrypted.
type TLSConfig struct {
	// CAFile has the certificates to trust, in PEM. Default: those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are our own certificate and its key, in PEM, if the
	// registry asks for one.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name in the registry's certificate. Default: the host.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify trusts any certificate: for tests only.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// The ways to tell a record's schema.
const (
	Prefix = "prefix"
	Header = "header"
	Both   = "both"
)

// The strategies that name subjects: by the topic, by the record, by both.
const (
	TopicName       = "topic_name"
	RecordName      = "record_name"
	TopicRecordName = "topic_record_name"
)

const defaultTimeout = 10 * time.Second

var (
	strategies = []string{TopicName, RecordName, TopicRecordName}
	places     = []string{"", Prefix, Header, Both}
	levels     = map[string]sr.CompatibilityLevel{
		"none": sr.CompatNone, "backward": sr.CompatBackward, "backward_transitive": sr.CompatBackwardTransitive,
		"forward": sr.CompatForward, "forward_transitive": sr.CompatForwardTransitive,
		"full": sr.CompatFull, "full_transitive": sr.CompatFullTransitive,
	}
)

// settings are a checked configuration.
type settings struct {
	urls           []string // without credentials
	user, password string
	token          string
	timeout        time.Duration
	strategy       string
	level          sr.CompatibilityLevel
	register       bool
	tls            *tls.Config
}

// check completes and checks the configuration. Its errors quote no credentials.
func (c Config) check() (*settings, error) {
	s := &settings{
		user: c.User, password: c.Password.Reveal(), token: c.Token.Reveal(), timeout: cmp.Or(c.Timeout, defaultTimeout),
		strategy: cmp.Or(c.Subject, TopicName), register: c.Register == nil || *c.Register,
	}
	known := false
	if s.level, known = levels[strings.ToLower(cmp.Or(c.Compatibility, "backward"))]; !known {
		return nil, fmt.Errorf("compatibility %q, known: none, backward, forward, full, and each of the last three with _transitive", c.Compatibility)
	}
	switch {
	case !slices.Contains(strategies, s.strategy):
		return nil, fmt.Errorf("subject %q, known: %s", c.Subject, strings.Join(strategies, ", "))
	case !slices.Contains(places, c.SchemaID):
		return nil, fmt.Errorf("schema_id %q, known: prefix, header, both", c.SchemaID)
	case s.timeout < 0:
		return nil, errors.New("timeout cannot be negative")
	}
	if err := s.parseURL(c.URL.Reveal()); err != nil {
		return nil, err
	}
	if s.token != "" && s.user != "" {
		return nil, errors.New("either user and password or token, not both")
	}
	if (s.user == "") != (s.password == "") {
		return nil, errors.New("user and password belong together")
	}
	var err error
	if c.TLS != nil {
		s.tls, err = c.TLS.config()
	}
	return s, err
}

// parseURL takes the addresses apart.
func (s *settings) parseURL(text string) error {
	if text == "" {
		return errors.New("url is needed, for example url: http://localhost:8081")
	}
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("url is not http://HOST:PORT or https://HOST:PORT")
		}
		if u.User != nil {
			s.user = cmp.Or(s.user, u.User.Username())
			word, _ := u.User.Password()
			s.password = cmp.Or(s.password, word)
			u.User = nil
		}
		s.urls = append(s.urls, strings.TrimSuffix(u.String(), "/"))
	}
	return nil
}

func (t *TLSConfig) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("tls.cert_file and tls.key_file belong together")
	}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls.ca_file %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
