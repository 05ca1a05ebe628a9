package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// everything are files that set every key that is not a connector's, some of which
// exclude each other.
var everything = []string{`
name: shop
source: {type: fake, url: "x://y/z", slot: a, tables: {include: [a.b], exclude: [c.d]}}
snapshot: {mode: never, parallel: 3, chunk_rows: 7, tables: {include: [a.b], exclude: [c.d]}}
transform:
  - {tables: [a.b], rename: m, columns: {include: [y], exclude: [x], rename: {a: b}}, when: "a > 1", where: "a > 2", old_unknown: replace}
stream: {type: none}
sink: {type: file, path: p, format: flat}
state: {dir: d}
pipeline: {buffer: 17MB, batch: 5MB, shutdown_timeout: 21s}
monitoring: {listen: "127.0.0.1:9465", metrics: [sync_lag_seconds], alerts: {lag_critical: 3, duplicate_rate_warning: 0.5, deadletter_critical: 4}}
consumer: {group_id: g}
dead_letter: {enabled: true, unit: event, file: f, alert_threshold: 9}
retry: {max_attempts: 3, backoff_base_ms: 10, backoff_max_ms: 20, jitter: false, attempt_timeout_ms: 30, circuit_breaker: {failures: 6, open_ms: 40}}
deduplication: {backend: redis, url: "redis://c/0", ca: ca.pem, cert: c.pem, key: k.pem, ttl_seconds: 60, key_pattern: "{id}", unsafe_exact_pattern: true}
contracts: {dir: c, validation: stop}
on_error: stop
on_table_error: resync
`, `
source: {type: fake, url: "x://y/z"}
stream: {type: kafka, topic: t}
sinks: [{name: a, type: file, path: p}, {name: b, type: file, path: q}]
dead_letter: {table: entrain.dead_letter}
consumer: {deduplication: {url: "redis://c/0"}, retry: {max_attempts: 2}}
reconciliation: {topic: r}
classes:
  - {tables: [a.b], class: micro_batch, name: small, every: 7s, rows: 8}
  - {tables: [c.d], class: batch, name: nightly, cron: "30 3 * * *", timezone: Europe/Berlin}
`, `
source: {type: fake, url: "x://y/z"}
sink: {type: file}
dead_letter: {topic: t}
`}

// TestShowLeavesNothingOut: each key of the grammar is set in one of the files, and
// each that is set is shown with its value.
func TestShowLeavesNothingOut(t *testing.T) {
	set := map[string]bool{}
	for _, text := range everything {
		f, err := parse("x.yaml", []byte(text), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := parseTree(pipelineForm, "shown.yaml", []byte(f.Show()))
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		shown.paths("", func(path, value string) { there[path+" = "+value] = true })
		f.root.paths("", func(path, value string) {
			set[path] = true
			if strings.HasPrefix(path, "stream.") && f.Stream == nil {
				return // type: none is no stream
			}
			if !there[path+" = "+value] {
				t.Errorf("%s is not shown as %q:\n%s", path, value, f.Show())
			}
		})
	}
	for _, path := range grammar("", reflect.TypeFor[document]()) {
		if !slices.ContainsFunc(keysOf(set), func(p string) bool { return p == path || strings.HasPrefix(p, path+".") }) {
			t.Errorf("no file sets %s: add it to one", path)
		}
	}
}

func keysOf(set map[string]bool) (keys []string) {
	for k := range set {
		keys = append(keys, k)
	}
	return keys
}

// paths calls f with each single value in a tree.
func (n *node) paths(path string, f func(path, value string)) {
	for _, e := range n.entries {
		e.value.paths(strings.TrimPrefix(path+"."+e.key.text, "."), f)
	}
	for _, item := range n.items {
		item.paths(path, f)
	}
	if n.kind == scalar {
		f(path, n.text)
	}
}

// grammar lists the keys that a type has. Those of connectors' sections, and of types
// that read a text, are not ours.
func grammar(path string, of reflect.Type) (paths []string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	own := of == reflect.TypeFor[Section]() || reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	if of.Kind() != reflect.Struct || own {
		return []string{path}
	}
	for name, field := range structFields(of) {
		paths = append(paths, grammar(strings.TrimPrefix(path+"."+name, "."), of.Field(field.index).Type)...)
	}
	return paths
}
