package campaign

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

// secretName is what keys are called whose values are credentials, may hold one, or name a
// file that does.
var secretName = regexp.MustCompile(`^(url|schema_registry_url|password|token|ca|ca_file|cert|cert_file|key|key_file|credentials)$|(?i)pass|secret|token|credential|_url$|dsn|auth`)

// place is a key of a file whose value is a credential, for a type of the section.
type place struct {
	section, typ string // typ is empty where a section has none
	keys         string // below the section, with dots between
}

func (p place) last() string { return p.keys[strings.LastIndexByte(p.keys, '.')+1:] }

// secretPlaces are all of the grammar.
func secretPlaces(t *testing.T) []place {
	t.Helper()
	var schema any
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	found := map[place]bool{}
	for section, of := range properties(schema) {
		for _, one := range typed(of) {
			typ := one.typ
			if typ == "" && section == "stream" {
				typ = "kafka" // what has no type of its own there
			}
			walkSchema(one.schema, "", func(keys string) {
				found[place{section, typ, keys}] = true
			})
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b place) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func properties(schema any) map[string]any {
	of, _ := schema.(map[string]any)
	list, _ := of["properties"].(map[string]any)
	return list
}

type typedSchema struct {
	typ    string
	schema any
}

// typed are a section's schemas by its types: each is behind an if.
func typed(of any) []typedSchema {
	section, _ := of.(map[string]any)
	cases, _ := section["allOf"].([]any)
	if len(cases) == 0 {
		return []typedSchema{{"", of}}
	}
	list := []typedSchema{{"", map[string]any{"properties": section["properties"]}}}
	for _, one := range cases {
		branch := one.(map[string]any)
		name := ""
		for _, key := range []string{"type", "broker"} { // two words for the same
			typ, _ := properties(branch["if"])[key].(map[string]any)
			word, _ := typ["const"].(string)
			name += word
		}
		list = append(list, typedSchema{name, branch["then"]})
	}
	return list
}

// walkSchema calls found with each secret key below a schema.
func walkSchema(schema any, under string, found func(keys string)) {
	switch of := schema.(type) {
	case []any:
		for _, one := range of {
			walkSchema(one, under, found)
		}
	case map[string]any:
		for name, below := range properties(of) {
			keys := strings.TrimPrefix(under+"."+name, ".")
			if secretName.MatchString(name) && properties(below) == nil {
				found(keys)
			}
			walkSchema(below, keys, found)
		}
		for _, combined := range []string{"oneOf", "anyOf", "allOf", "then", "else", "items"} {
			walkSchema(of[combined], under, found)
		}
	}
}

// TestSecretsAreNamedSo: what a connector keeps as a secret has a name under which the next
// test finds it.
func TestSecretsAreNamedSo(t *testing.T) {
	n := 0
	for _, spec := range all.Registry() {
		look := func(into any) error {
			eachSecret(reflect.TypeOf(into).Elem(), func(name string) {
				if n++; !secretName.MatchString(name) {
					t.Errorf("%s: the key %s is a secret, and no test of canaries looks for it", spec.Type, name)
				}
			})
			return os.ErrInvalid
		}
		env := connector.Env{Pipeline: "shop", Log: slog.New(slog.DiscardHandler)}
		if spec.Source != nil {
			_, _ = spec.Source(env, look)
		}
		if spec.Sink != nil {
			_, _ = spec.Sink(env, look)
		}
		if spec.Log != nil {
			_, _ = spec.Log(env, look)
		}
	}
	if n < 10 {
		t.Errorf("only %d secrets found", n)
	}
}

// eachSecret calls found with the keys of a struct that are secrets.
func eachSecret(of reflect.Type, found func(name string)) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("yaml"), ",")
		if of.Field(i).Type == reflect.TypeFor[connector.Secret]() {
			found(name)
			continue
		}
		eachSecret(of.Field(i).Type, found)
	}
}

// schemes are what the addresses of the types begin with, by the last section that has one.
var schemes = map[string]string{"postgres": "postgres", "kafka": "kafka", "nats": "nats", "redis": "redis", "deduplication": "redis", "schema_registry": "http"}

// grammarVault makes files with canaries at places of the grammar.
type grammarVault struct {
	vault
	address  string // of a server that hears a login and says nothing
	canaries map[string]string
}

// canary is a credential of its own for the place.
func (g *grammarVault) canary(p place) string {
	name := fmt.Sprint(p)
	if g.canaries[name] == "" {
		g.canaries[name] = fmt.Sprintf(`Wd%d/ca+ %s"z`, len(g.canaries), []string{"Hq", "Mv", "Tj"}[len(g.canaries)%3])
	}
	return g.canaries[name]
}

// file is the name of the file that a place can be in together with others: what cannot be
// read ends a command before what is beside it is used.
func (p place) file() string {
	class := "login"
	switch name := p.last(); name {
	case "url", "password":
	case "token", "schema_registry_url":
		class = name
	default:
		class = strings.Replace(name, "key", "cert", 1) // a pair
	}
	return fmt.Sprint(p.section, " ", p.typ, " ", class, " ", strings.HasPrefix(p.keys, "schema_registry"))
}

// set puts a canary at the place into a section, with what has to be beside it.
func (g *grammarVault) set(section map[string]any, p place) {
	g.t.Helper()
	scheme := schemes[p.typ]
	if s, known := schemes[p.section]; known {
		scheme = s
	}
	at := section
	steps := strings.Split(p.keys, ".")
	for _, key := range steps[:len(steps)-1] {
		if s, known := schemes[key]; known {
			scheme = s
		}
		if at[key] == nil {
			at[key] = map[string]any{}
		}
		at = at[key].(map[string]any)
		if key == "schema_registry" && at["url"] == nil {
			at["url"] = "http://" + g.address
		}
	}
	canary, name := g.canary(p), p.last()
	switch name {
	case "url", "schema_registry_url":
		at[name] = scheme + "://" + url.UserPassword("u", canary).String() + "@" + g.address
		if scheme == "postgres" {
			at[name] = at[name].(string) + "/x"
		}
		if name == "schema_registry_url" {
			at["schema_registry"] = true
		}
		return
	case "password":
		at["user"], at[name] = "u", canary
		return
	case "token":
		at[name] = canary
		return
	}
	at[name] = g.keep(name, canary)
	if pair := strings.NewReplacer("cert", "key", "key", "cert").Replace(name); at[pair] == nil {
		at[pair] = g.keep(pair, canary)
	}
}

// keep makes a file that should be a certificate, a key or credentials, and is not.
func (g *grammarVault) keep(name, canary string) string {
	path := filepath.Join(g.dir, fmt.Sprint(name, len(g.canaries)))
	text := "-----BEGIN PRIVATE KEY-----\n" + canary + "\n-----END PRIVATE KEY-----\n-----BEGIN USER NKEY SEED-----\n" + canary + "\n------END USER NKEY SEED------\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return path
}

// document is a pipeline that works but for what the section says.
func (g *grammarVault) document(p place) map[string]any {
	section := map[string]any{}
	if p.typ != "" {
		section["type"] = p.typ
	}
	if strings.HasPrefix(p.keys, "schema_registry") && p.section == "sink" {
		section["format"] = "avro"
	}
	if scheme, known := schemes[p.typ]; known && p.section != "source" {
		section["url"] = scheme + "://" + g.address
		if p.typ == "redis" && !strings.HasSuffix(p.keys, "url") {
			section["url"] = "rediss://" + g.address
		}
	}
	name := "vault"
	if p.section == "stream" {
		name = "streamed" // a pipeline has a stream from its beginning
	}
	doc := map[string]any{
		"name":     name,
		"source":   map[string]any{"type": "postgres", "url": g.site.source, "create": true},
		"snapshot": map[string]any{"mode": "never"},
		"sink":     map[string]any{"type": "file", "path": filepath.Join(g.dir, "lines")},
		"state":    map[string]any{"dir": filepath.Join(g.dir, "state")},
	}
	doc[p.section] = section
	if p.section == "consumer" || p.section == "deduplication" {
		section = map[string]any{"url": "redis://" + g.address}
		doc[p.section] = section
		if p.section == "consumer" {
			doc[p.section] = map[string]any{"deduplication": section}
		}
	}
	return doc
}

// TestSE02EveryCredential: P8. What is a credential by the grammar of files, of whatever
// source, stream, sink or registry, shows in nothing that commands say, in no stack dump, in
// no file of the state, whether the server of it takes it or not. A key that is new comes in
// by itself.
func TestSE02EveryCredential(t *testing.T) {
	g := &grammarVault{canaries: map[string]string{}, address: deaf(t)}
	g.t, g.dir = t, t.TempDir()
	g.site, _ = shop(t, someMajor(t))
	docs := map[string]map[string]any{}
	for _, p := range secretPlaces(t) {
		if p.section == "sinks" {
			continue // each is as sink is
		}
		if docs[p.file()] == nil {
			docs[p.file()] = g.document(p)
		}
		g.set(docs[p.file()][p.section].(map[string]any), p)
	}
	if len(g.canaries) < 30 {
		t.Errorf("only %d credentials found", len(g.canaries))
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		g.try(name, docs[name])
	}
	g.files()
	if got := shownOf(g.said.String(), g.canaries); len(got) > 0 {
		t.Errorf("shown: %q", got)
	}
	t.Logf("%d files with %d credentials, %d bytes were said", len(docs), len(g.canaries), g.said.Len())
}

// try runs the commands on a file, and ends a run that goes on by a stack dump.
func (g *grammarVault) try(name string, doc map[string]any) {
	g.t.Helper()
	text, err := json.Marshal(doc) // which is YAML, too
	if err != nil {
		g.t.Fatal(err)
	}
	path, before := g.write(string(text)), g.said.Len()
	g.call("config", "show", path)
	g.call("check", "-o", "json", path)
	p := launch(g.t, "run", "--until", "now", "--log-level", "debug", path)
	pgtest.Eventually(g.t, patience, name+": the run ends or fails", func() bool {
		return !p.running() || p.stderr.has("level=WARN") || p.stderr.has("level=ERROR")
	})
	if p.running() {
		g.call("status", path)
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
	}
	<-p.ended
	if state, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus); state.CoreDump() {
		g.t.Errorf("%s: a core was dumped", name)
	}
	g.said.WriteString(p.stdout.String() + p.stderr.String())
	if got := shownOf(g.said.String()[before:], g.canaries); len(got) > 0 {
		g.t.Errorf("%s shows %q:\n%s", name, got, tail(g.said.String()[before:], 3000))
	}
}

// deaf is a server that reads what is said, says nothing and hangs up.
func deaf(t *testing.T) (address string) {
	t.Helper()
	return throwawaytest.Listen(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
	})
}
