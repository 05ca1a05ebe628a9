package main

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/pipeline"
)

// Every example loads, and is shown with the defaults that it leaves out.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		env := map[string]string{"REDIS_URL": "redis://127.0.0.1:6379", "NATS_URL": "nats://127.0.0.1:4222",
			"STREAM_URL": "kafka://127.0.0.1:9092", "REGISTRY_URL": "http://127.0.0.1:8081", "SINK_URL": "postgres://127.0.0.1:9/copy"}
		maps.Copy(env, source)
		got := invoke(t, env, "config", "show", file)
		got.want(t, exitOK)
		for _, text := range []string{"name: ", "\nsource:\n  type: postgres\n", "create: true", "shutdown_timeout: 20s"} {
			if !strings.Contains(got.stdout, text) {
				t.Errorf("%s: %q is not shown:\n%s", file, text, got.stdout)
			}
		}
	}
}

// Credentials are on neither output in any spelling, whatever the command and
// however it fails (P8).
func TestCanaries(t *testing.T) {
	canaries := map[string]string{
		"SOURCE_URL": "c4n4ry-one/+ x", "PLAIN": "c4n4ry-two/+ x",
	}
	text := `
source: {type: postgres, url: "${SOURCE_URL}", slot: "${SLOT:-s}"}
sink: {type: file, path: "DIR/out.jsonl"}
state: {dir: DIR/state}
`
	env := map[string]string{
		"SOURCE_URL": "postgres://app:" + url.QueryEscape(canaries["SOURCE_URL"]) + "@127.0.0.1:9/shop",
		"SLOT":       "valid_slot",
	}
	good := writeFile(t, text)
	bad := writeFile(t, strings.Replace(text, "slot:", "slto:", 1))
	raw := writeFile(t, strings.Replace(text, `"${SOURCE_URL}"`, `"host=127.0.0.1 port=9 password='`+canaries["PLAIN"]+`' oops=1"`, 1))
	torn := writeFile(t, strings.Replace(text, `"${SOURCE_URL}"`, `"postgres://u:`+url.QueryEscape(canaries["PLAIN"])+`@h/x`, 1))
	for _, file := range []string{good, bad, raw, torn} {
		for _, args := range [][]string{{"config", "show"}, {"run"}, {"run", "--log-level", "debug"}, {"teardown", "--yes"}, {"status"}} {
			got := invoke(t, env, append(args, file)...)
			for name, canary := range canaries {
				checkCanary(t, strings.Join(args, " ")+" "+name, canary, got.stdout+got.stderr)
			}
		}
	}
}

func checkCanary(t *testing.T, what, canary, output string) {
	t.Helper()
	for _, form := range []string{
		canary, canary[:10], url.QueryEscape(canary), url.PathEscape(canary), hex.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte(canary)), base64.URLEncoding.EncodeToString([]byte(canary)),
		base64.RawStdEncoding.EncodeToString([]byte(canary))[:12],
	} {
		if strings.Contains(strings.ToLower(output), strings.ToLower(form)) {
			t.Errorf("%s: %q is shown:\n%s", what, form, output)
		}
	}
}

// What becomes of a table that the sink refuses is the file's to say.
func TestOnTableError(t *testing.T) {
	for text, want := range map[string]pipeline.TableError{
		toFile:                              pipeline.TableErrorStop,
		toFile + "on_table_error: stop\n":   pipeline.TableErrorStop,
		toFile + "on_table_error: resync\n": pipeline.TableErrorResync,
	} {
		file := writeFile(t, text)
		p, _ := talk(source)
		l, err := p.load(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.onTableError(); got != want {
			t.Errorf("%s: %v; want %v", text, got, want)
		}
		shown := invoke(t, source, "config", "show", file)
		shown.want(t, exitOK)
		if word := map[pipeline.TableError]string{0: "stop", 1: "resync"}[want]; !strings.Contains(shown.stdout, "\non_table_error: "+word+"\n") {
			t.Errorf("shown:\n%s", shown.stdout)
		}
	}
}
