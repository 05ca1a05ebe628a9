package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
)

func sortTexts(texts []any) {
	sort.Slice(texts, func(i, j int) bool { return texts[i].(string) < texts[j].(string) })
}

// TestSchemaIsCurrent: the schema that is linked in is what the types say now.
func TestSchemaIsCurrent(t *testing.T) {
	m := schemaMaker{t: t, docs: fieldDocs(t)}
	current(t, m.document(), "entrain.schema.json", Schema())
	current(t, m.contract(), "contract.schema.json", ContractSchema())
}

// current compares a schema with the file that has it, or writes that.
func current(t *testing.T, schema object, file string, linked []byte) {
	t.Helper()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), string(linked)); diff != "" {
		t.Errorf("make it anew: go test -run TestSchema ./internal/config -update\n%s", diff)
	}
}

// compiled is the schema as an editor reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	return compile(t, Schema())
}

func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("entrain.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("entrain.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate asks the schema about a file.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

// TestSchemaTakesTheExamples: what the repository shows is valid.
func TestSchemaTakesTheExamples(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaRefusesUnknownKeys: a key that Load does not know is not in the schema
// either, at any level.
func TestSchemaRefusesUnknownKeys(t *testing.T) {
	s := compiled(t)
	const good = `
name: shop
source: {type: postgres, url: "${SOURCE_URL}", tables: {include: ["public.*"]}, create: true, heartbeat: 10s}
sink: {type: file, path: "-", format: debezium, debezium: {topic_prefix: a}}
transform: [{tables: ["*"], columns: {exclude: [a]}}]
pipeline: {buffer: 16MB, shutdown_timeout: 20s}
state: {dir: x}
snapshot: {mode: never}
`
	if err := validate(t, s, []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"name: shop", "type: postgres", "include:", "type: file", "topic_prefix", "tables: [", "exclude:", "buffer:", "dir:", "mode:"} {
		at := strings.Index(good, part)
		bad := good[:at] + "colour: red" + map[bool]string{true: "\n", false: ", "}[part == "name: shop"] + good[at:]
		if validate(t, s, []byte(bad)) == nil {
			t.Errorf("an unknown key beside %q passes", part)
		}
	}
	const other = `
name: shop
source: {database: postgres, url: "${SOURCE_URL}", logical_replication: true, slots: [{name: a, publication: b, tables: [c]}]}
stream: {broker: kafka, url: "kafka://k:9092", retention_hours: 168, schema_registry: true, schema_registry_url: "http://r", format: json}
consumer: {group_id: a, retry: {max_attempts: 5}}
sink: {url: "${TARGET_URL}", consistency: eventual}
monitoring: {metrics: [sync_lag_seconds], alerts: {lag_critical: 30}}
`
	if err := validate(t, s, []byte(other)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"database: postgres", "database: oracle"}, {"broker: kafka", "broker: rabbit"}, {"name: a", "nam: a"},
		{"format: json", "format: avro"}, {"true, slots", "false, slots"}, {"eventual", "strong"}, {"lag_critical", "lag_criticl"}, {"group_id: a", "group: a"}} {
		if validate(t, s, []byte(strings.Replace(other, change[0], change[1], 1))) == nil {
			t.Errorf("%s passes", change[1])
		}
	}
	for _, change := range [][2]string{{"16MB", "16XB"}, {"20s", "20"}, {"never", "always"}, {"create: true", "create: 7"}, {"type: postgres", "type: oracle"}, {"format: debezium", "format: xml"}, {"[\"public.*\"]", "public"}} {
		if validate(t, s, []byte(strings.Replace(good, change[0], change[1], 1))) == nil {
			t.Errorf("%s passes", change[1])
		}
	}
}

// TestSchemaHasEveryKey: the keys of the connectors' structs are those of the
// schema, both ways.
func TestSchemaHasEveryKey(t *testing.T) {
	var root struct {
		Properties map[string]struct {
			AllOf []struct {
				If struct {
					Properties struct{ Type struct{ Const string } }
				}
				Then struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	ends := map[string]func(connector.Spec) any{
		"source": func(s connector.Spec) any { return configOf(s.Source) },
		"sink":   func(s connector.Spec) any { return configOf(s.Sink) },
		"stream": func(s connector.Spec) any { return configOf(s.Log) },
	}
	for end, of := range ends {
		seen := 0
		for _, part := range root.Properties[end].AllOf {
			if part.If.Properties.Type.Const == "" {
				continue // another word for the type
			}
			spec := specOf(t, part.If.Properties.Type.Const)
			want := append(sortedNames(structFields(reflect.TypeOf(of(spec)).Elem())), "type")
			if end == "sink" {
				want = append(want, "name")
			}
			for word := range words[end][spec.Type] {
				want = append(want, word)
			}
			var got []string
			for key := range part.Then.Properties {
				got = append(got, key)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s: %s", end, spec.Type, diff)
			}
			seen++
		}
		if seen == 0 {
			t.Errorf("no %s has keys", end)
		}
	}
}

func specOf(t *testing.T, typ string) connector.Spec {
	t.Helper()
	for _, spec := range all.Registry() {
		if spec.Type == typ {
			return spec
		}
	}
	t.Fatalf("no connector %q", typ)
	return connector.Spec{}
}
