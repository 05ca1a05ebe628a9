package config

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/connector"
)

func TestShow(t *testing.T) {
	path := write(t, "x.yaml", strings.Replace(full, "${NONE:-native}", `"${NONE:-native}"`, 1))
	f, _, _, err := loadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `name: shop
source:
  type: fake
  url: "postgres://app:***@db.example/shop" # ${SOURCE_URL}
  slot: entrain_shop
  port: "***" # ${PORT}
  create: "***" # ${YES}
  max_event_bytes: 256MB
  tables:
    include:
      - "public.*"
      - other.t
  options:
    a: 1
    b: two
  keys:
    - "***"
    - "***"
  ratio: 1.5
snapshot:
  mode: never
  parallel: 4
  chunk_rows: 50000
sink:
  type: file
  format: "***" # ${NONE}
retry:
  max_attempts: 1
state:
  dir: /var/lib/entrain
pipeline:
  buffer: 16MB
  batch: 4MB
  shutdown_timeout: 1m30s
on_error: stop
on_table_error: stop
`
	if diff := cmp.Diff(want, f.Show()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is shown of a file without ${…} and credentials is that file again.
func TestShowReadsBack(t *testing.T) {
	showReadsBack(t, minimal)
	showReadsBack(t, "source: {type: fake, url: \"x://y/z\", slot: \"a: b # \\\"c\\\" \\u2603 - \\n\", tables: {include: [\"- x\", 'null', '{']}}\nsink: {type: file}\n")
}

func showReadsBack(t *testing.T, text string) {
	t.Helper()
	f, source, _, err := loadAll(write(t, "x.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	again, source2, _, err := loadAll(write(t, "x.yaml", f.Show()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, f.Show())
	}
	if diff := cmp.Diff(source, source2); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(f.Show(), again.Show()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const canary = "c4n@ry/+ :x"

// No credential is shown in any spelling, decoded or not, wherever it stands
// (P8).
func TestShowMasksCredentials(t *testing.T) {
	env := func(name string) (string, bool) { return canary, name == "CANARY" }
	text := `
source:
  type: fake
  url: "postgres://app:` + url.QueryEscape(canary) + `@db/shop?sslpassword=` + url.QueryEscape(canary) + `"
  password: "` + canary + `"
  slot: ${CANARY}
  options: {api_key: "` + canary + `", nested_token: "${NO:-` + canary + `}", plain: "${CANARY}"}
  keys: ["${CANARY}"]
  tables: {include: ["${CANARY}"]}
sink:
  type: file
  credentials: {user: u, any: ["` + canary + `"]}
  url: "host=db password='` + canary + `'"
`
	f, err := Load(write(t, "x.yaml", text), env)
	if err != nil {
		t.Fatal(err)
	}
	before := f.Show()
	decode := f.Source.Decode
	if err := decode(&fakeSource{}); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{before, f.Show()} {
		for _, form := range []string{
			canary, "c4n", url.QueryEscape(canary), url.PathEscape(canary), hex.EncodeToString([]byte(canary)),
			base64.StdEncoding.EncodeToString([]byte(canary)), base64.URLEncoding.EncodeToString([]byte(canary)),
		} {
			if strings.Contains(shown, form) {
				t.Errorf("%q is shown:\n%s", form, shown)
			}
		}
		if !strings.Contains(shown, "postgres://app:***@db/shop") {
			t.Errorf("the harmless part of the URL is not shown:\n%s", shown)
		}
	}
}

// A credential that was decoded into Secret is masked although nothing in the
// file tells.
func TestShowMasksByType(t *testing.T) {
	f, _, _, err := loadAll(write(t, "x.yaml", "source: {type: fake, url: \"x://y/z\", extra: [hunter2]}\nsink: {type: file}\n"))
	if err == nil {
		t.Fatalf("an unknown key was taken: %s", f.Show())
	}
	f, err = Load(write(t, "x.yaml", "source: {type: fake, extra: [hunter2], map: {a: hunter2}}\nsink: {type: file}\n"), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	decode := f.Source.Decode
	var into struct {
		Extra []connector.Secret          `yaml:"extra"`
		Map   map[string]connector.Secret `yaml:"map"`
	}
	if err := decode(&into); err != nil {
		t.Fatal(err)
	}
	if shown := f.Show(); strings.Contains(shown, "hunter2") || strings.Count(shown, "***") != 2 {
		t.Errorf("shown:\n%s", shown)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(full)
	f.Add(minimal)
	f.Add("a: &x [*x]\n? [b]\n: c")
	f.Add("source: {type: ${X:-a}, url: \"${file:/dev/null}\"}\nsink: {type: f}\n")
	f.Add("source: {type: a}\nsinks: [{name: b, type: c}, {name: d, type: e, url: f}]\nstream: {type: kafka}\n")
	f.Add("password: \"hunter2\n  x: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "${file:") {
			return // what it reads is not ours to choose
		}
		file, err := parse("fuzz.yaml", []byte(text), testEnv)
		if err != nil {
			if _, ok := err.(*Error); !ok || err.Error() == "" {
				t.Fatalf("%T is not an *Error: %v", err, err)
			}
			return
		}
		for _, end := range append([]*Section{file.Source, file.Stream}, file.Sinks...) {
			if end == nil {
				continue
			}
			if err := end.Decode(&fakeSource{}); err != nil && err.Error() == "" {
				t.Fatal("an error without a text")
			}
		}
		if again, err := parse("fuzz.yaml", []byte(file.Show()), testEnv); err != nil {
			t.Fatalf("what is shown does not load: %v\n%s", err, file.Show())
		} else if again.Name != file.Name {
			t.Fatalf("name %q is shown as %q", file.Name, again.Name)
		}
	})
}
