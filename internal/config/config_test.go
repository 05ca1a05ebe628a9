package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const full = `
name: shop
source:
  type: fake
  url: ${SOURCE_URL}
  slot: entrain_shop
  port: ${PORT}
  create: ${YES}
  max_event_bytes: 256MB
  ratio: 1.5
  tables: {include: ["public.*", other.t], exclude: []}
  options: {a: 1, b: "two"}
  keys: [k-one, k-two]
sink: {type: file, path: "${EMPTY}", format: ${NONE:-native}}
snapshot: {mode: never}
state: {dir: /var/lib/entrain}
pipeline: {buffer: 16MB, batch: 4MB, shutdown_timeout: 1m30s}
on_error: stop
`

func TestLoadsEverySection(t *testing.T) {
	path := write(t, "x.yaml", strings.Replace(full, "${NONE:-native}", `"${NONE:-native}"`, 1))
	f, source, sink, err := loadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "shop" || f.State.Dir != "/var/lib/entrain" || f.OnError != "stop" || f.Snapshot.Mode != "never" {
		t.Errorf("file = %+v", f)
	}
	if want := (Pipeline{16 << 20, 4 << 20, 90 * time.Second}); f.Pipeline != want {
		t.Errorf("pipeline = %+v; want %+v", f.Pipeline, want)
	}
	yes := true
	want := &fakeSource{
		URL: "postgres://app:hunter2@db.example/shop", Slot: "entrain_shop", Port: 5433, Create: &yes,
		MaxEvent: 256 << 20, Ratio: 1.5, Options: map[string]string{"a": "1", "b": "two"}, Keys: source.Keys,
	}
	want.Tables.Include, want.Tables.Exclude = []string{"public.*", "other.t"}, []string{}
	if diff := cmp.Diff(want, source); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
	if len(source.Keys) != 2 || source.Keys[1].Reveal() != "k-two" {
		t.Errorf("keys = %v", source.Keys)
	}
	if *sink != (fakeSink{Path: "", Format: "native"}) {
		t.Errorf("sink = %+v", sink)
	}
}

const minimal = "source: {type: fake, url: \"x://y/z\"}\nsink: {type: file}\n"

func TestDefaults(t *testing.T) {
	f, source, sink, err := loadAll(write(t, "orders_2-x.yml", "\ufeff"+strings.ReplaceAll(minimal, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "orders_2-x" || f.State.Dir != ".entrain" || f.Pipeline.ShutdownTimeout != 20*time.Second {
		t.Errorf("file = %+v", f)
	}
	if source.Slot != "entrain_orders_2-x" || sink.Path != "-" {
		t.Errorf("the connectors' defaults are gone: %+v %+v", source, sink)
	}
	if len(f.Sinks) != 1 || f.Source.Type != "fake" || f.Sinks[0].Type != "file" || f.Sinks[0].Name != "sink" {
		t.Errorf("source = %+v, sinks = %+v", f.Source, f.Sinks)
	}
}

func TestRefusesFilesThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"large":            strings.Repeat("# comment\n", maxFile/10+1),
		"not UTF-8":        "name: \xff\n",
		"many brackets":    strings.Repeat("[", maxBrackets+1),
		"long line":        "name: " + strings.Repeat("x", maxLine),
		"unfit name":       "",
		"zero buffer":      minimal + "pipeline: {buffer: 0}\n",
		"zero batch":       minimal + "pipeline: {batch: 0kB}\n",
		"zero shutdown":    minimal + "pipeline: {shutdown_timeout: 0s}\n",
		"empty state":      minimal + "state: {dir: \"\"}\n",
		"directive":        "%YAML 1.2\n---\n" + minimal,
		"alias bomb":       "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
		"key is a mapping": "? {a: b}\n: c\n",
		"null section":     "source:\nsink: {type: file}\n",
		"typed secret":     "source: {type: fake, url: {a: b}}\nsink: {type: file}\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := "ok.yaml"
			if name == "unfit name" {
				file, text = "My Shop.yaml", minimal
			}
			_, _, _, err := loadAll(write(t, file, text))
			var e *Error
			if !errors.As(err, &e) || e.Message == "" {
				t.Errorf("error = %v; want an *Error", err)
			}
		})
	}
	var e *Error
	if _, err := Load("no/such.yaml", testEnv); !errors.As(err, &e) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestSubstitute(t *testing.T) {
	secret := write(t, "secret", "pa$$ ${PORT}\r\n")
	for text, want := range map[string]string{
		"${PORT}":                   "5433",
		"a${PORT}b${PORT}":          "a5433b5433",
		"${NONE:-}x":                "x",
		"${NONE:-a:-b c}":           "a:-b c",
		"${EMPTY:-default}":         "",
		"$${PORT}":                  "${PORT}",
		"$$${PORT}":                 "$${PORT}",
		"$PORT $ {":                 "$PORT $ {",
		"${file:" + secret + "}":    "pa$$ ${PORT}",
		"<${file:" + secret + "}>":  "<pa$$ ${PORT}>",
		"$${a} ${PORT} $${b} ${X:-": "",
	} {
		got, _, err := substitute(text, testEnv)
		if got != want || (err != nil) != (want == "" && text != "${EMPTY:-default}") {
			t.Errorf("%q → %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${}", "${1a}", "${A B}", "${NONE}", "${", "${NONE:-${PORT}}", "${file:}", "${file:/dev/zero}", "${file:/}", "${PORT:+x}"} {
		if got, _, err := substitute(text, testEnv); err == nil {
			t.Errorf("%q → %q; want an error", text, got)
		}
	}
	big := write(t, "big", strings.Repeat("x", maxInclude+1))
	if _, _, err := substitute("${file:"+big+"}", testEnv); err == nil {
		t.Error("a large file was included")
	}
}

// A value that looks like YAML stays one value.
func TestSubstitutionCannotChangeTheStructure(t *testing.T) {
	_, source, _, err := loadAll(write(t, "x.yaml",
		"source:\n  type: fake\n  url: ${INJECT}\n  slot: ${NULL}\nsink: {type: file}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if source.URL.Reveal() != "x\nsink: {type: evil}" || source.Slot != "null" {
		t.Errorf("url = %q, slot = %q", source.URL.Reveal(), source.Slot)
	}
}

func TestPlacesErrorsAboutSections(t *testing.T) {
	f, _, _, err := loadAll(write(t, "x.yaml", minimal))
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("unknown sink type")
	var e *Error
	if err := f.Sinks[0].Place(cause); !errors.As(err, &e) || e.Line != 2 || e.Column != 14 || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if again := f.Source.Place(e); again != error(e) {
		t.Errorf("a placed error got a new place: %v", again)
	}
	if f.Source.Place(nil) != nil {
		t.Error("no error became one")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"buffer", "batch", "slot", "url", "publication"}
	for word, want := range map[string]string{
		"bufer": "buffer", "bacth": "batch", "slto": "slot", "ulr": "url", "publications": "publication",
		"zebra": "", "x": "", "": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q; want %q", word, got, want)
		}
	}
}
