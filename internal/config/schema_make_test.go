package config

import (
	"errors"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
	"github.com/entrainsync/entrain/contract"
)

// object is a part of a JSON Schema.
type object = map[string]any

// schemaMaker makes schemas from types.
type schemaMaker struct {
	t    *testing.T
	docs map[string]string // comments by package.Type.Field
}

// configFolders are where the types of the configuration are.
var configFolders = []string{".", "../../connector/postgres/capture", "../../connector/postgres/apply", "../../connector/file",
	"../../connector/nats", "../../connector/kafka", "../../connector/redis", "../../encoding", "../../transform", "../../contract"}

// choices are the words that a field takes.
var choices = map[string][]any{
	"config.Snapshot.Mode":                         {"initial", "never", "only", "when_needed"},
	"capture.SlotGuard.Policy":                     {"protect_data", "protect_source"},
	"config.Contracts.Validation":                  {"off", "warn", "dead_letter", "stop"},
	"config.document.OnError":                      {"stop"},
	"config.document.OnTableError":                 {"stop", "resync"},
	"transform.Rule.OldUnknown":                    {"stop", "replace"},
	"file.SinkConfig.Format":                       {"native", "debezium", "flat", "cloudevents"},
	"redis.SinkFile.Format":                        {"native", "flat", "cloudevents"},
	"nats.SinkFile.Format":                         {"native", "flat", "debezium", "cloudevents"},
	"redis.SinkFile.Durability":                    {"always", "relaxed"},
	"redis.StreamFile.Durability":                  {"always", "relaxed"},
	"kafka.SinkConfig.Format":                      {"native", "debezium", "flat", "cloudevents", "avro", "protobuf", "json"},
	"registry.Config.Subject":                      {"topic_name", "record_name", "topic_record_name"},
	"registry.Config.Compatibility":                {"none", "backward", "backward_transitive", "forward", "forward_transitive", "full", "full_transitive"},
	"registry.Config.SchemaID":                     {"prefix", "header", "both"},
	"kafka.SinkConfig.Compression":                 {"lz4", "zstd", "snappy", "gzip", "none"},
	"kafka.SinkConfig.Partitioner":                 {"xxh64", "murmur2"},
	"kafka.SinkConfig.Acks":                        {"all"},
	"kafka.LogConfig.Compression":                  {"lz4", "zstd", "snappy", "gzip", "none"},
	"kafka.LogConfig.Partitioner":                  {"xxh64", "murmur2"},
	"kafka.LogConfig.GroupProtocol":                {"classic", "consumer"},
	"kafka.SASLConfig.Mechanism":                   {"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"},
	"encoding.DebeziumOptions.DecimalHandlingMode": {"precise", "string", "double"},
	"encoding.DebeziumOptions.TimePrecisionMode": {"adaptive", "adaptive_time_microseconds", "connect",
		"isostring", "microseconds", "nanoseconds"},
	"encoding.DebeziumOptions.IntervalHandlingMode": {"numeric", "string"},
	"encoding.DebeziumOptions.BinaryHandlingMode":   {"bytes", "base64", "base64-url-safe", "hex"},
	"encoding.DebeziumOptions.HstoreHandlingMode":   {"json", "map"},
	"encoding.DebeziumOptions.SkippedOperations":    {"none", "t"},
}

// variable is what stands in a file for a value from elsewhere.
var variable = object{"type": "string", "pattern": `\$\{`}

// document makes the schema of a whole file.
func (m *schemaMaker) document() object {
	root := m.structure(reflect.TypeFor[document](), "config.document")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "entrain pipeline"
	properties := root["properties"].(object)
	properties["source"] = m.section("where the changes come from", func(s connector.Spec) any {
		return configOf(s.Source)
	})
	sink := m.section("where the changes go to", func(s connector.Spec) any { return configOf(s.Sink) })
	name := object{"type": "string", "pattern": "^[a-z0-9_-]{1,40}$", "description": "of the sink, behind a stream"}
	for _, one := range sink["allOf"].([]any) {
		one.(object)["then"].(object)["properties"].(object)["name"] = name
	}
	sink["properties"].(object)["name"] = name
	properties["sink"] = sink
	properties["sinks"] = object{"type": "array", "items": object{"$ref": "#/properties/sink"}, "description": "several sinks, each with a name; a stream stands before them"}
	properties["stream"] = m.section("the durable stream between source and sinks", func(s connector.Spec) any { return configOf(s.Log) })
	streams := properties["stream"].(object)["properties"].(object)["type"].(object)
	streams["enum"] = append([]any{streamNone}, streams["enum"].([]any)...)
	otherWords(properties)
	return root
}

// contractWords are the words that a field of a contract takes, where nothing comes
// from elsewhere.
var contractWords = map[string][]any{
	"contract.Contract.Status":         {"proposed", "active", "deprecated", "retired"},
	"contract.Contract.Compatibility":  {"backward", "forward", "full", "none"},
	"contract.Contract.Classification": {"public", "internal", "confidential", "pii"},
	"contract.Column.Classification":   {"public", "internal", "confidential", "pii"},
}

// contract makes the schema of a contract file.
func (m *schemaMaker) contract() object {
	root := m.structure(reflect.TypeFor[contract.Contract](), "contract.Contract")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "entrain contract"
	return root
}

var errLooked = errors.New("only looked")

// configOf is the configuration struct of a connector's constructor, with its
// defaults; nil if there is no constructor.
func configOf[T any](build func(connector.Env, connector.Decode) (T, error)) any {
	if build == nil {
		return nil
	}
	var config any
	_, _ = build(connector.Env{Pipeline: "shop", Log: slog.New(slog.DiscardHandler)}, func(into any) error {
		config = into
		return errLooked
	})
	return config
}

// section is source: or sink:, whose keys depend on its type.
func (m *schemaMaker) section(what string, configOf func(connector.Spec) any) object {
	types, cases := []any{}, []any{}
	for _, spec := range all.Registry() {
		config := configOf(spec)
		if config == nil {
			continue
		}
		t := reflect.TypeOf(config).Elem()
		part := m.structure(t, t.String())
		part["properties"].(object)["type"] = object{"const": spec.Type}
		cases = append(cases, object{
			"if":   object{"properties": object{"type": object{"const": spec.Type}}, "required": []any{"type"}},
			"then": part,
		})
		types = append(types, spec.Type)
	}
	return object{
		"type": "object", "description": what, "required": []any{"type"}, "allOf": cases,
		"properties": object{"type": object{"enum": types, "description": "which connector"}},
	}
}

func (m *schemaMaker) structure(t reflect.Type, name string) object {
	properties, required := object{}, []any{}
	for key, f := range structFields(t) {
		field := t.Field(f.index)
		path := name + "." + field.Name
		s := m.value(field.Type, path)
		if text := m.docs[path]; text != "" {
			s["description"] = text
		}
		properties[key] = s
		if f.required {
			required = append(required, key)
		}
	}
	out := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		sortTexts(required)
		out["required"] = required
	}
	return out
}

func (m *schemaMaker) value(t reflect.Type, path string) object {
	if words := choices[path]; words != nil {
		return object{"anyOf": []any{object{"enum": words}, variable}}
	}
	if words := contractWords[path]; words != nil {
		return object{"enum": words}
	}
	switch t {
	case sizeType:
		return object{"type": []any{"string", "integer"}, "pattern": `^ *[0-9]+ *([kKmMgGtT]?[bB])? *$|\$\{`}
	case durationType:
		return object{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|\$\{`}
	case reflect.TypeFor[Section](), reflect.TypeFor[[]Section]():
		return object{} // see document
	}
	switch t.Kind() {
	case reflect.Pointer:
		return m.value(t.Elem(), path)
	case reflect.Struct:
		return m.structure(t, t.String())
	case reflect.Slice:
		return object{"type": "array", "items": m.value(t.Elem(), path+"[]")}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": m.value(t.Elem(), path+"{}")}
	case reflect.Bool:
		return object{"anyOf": []any{object{"type": "boolean"}, variable}}
	case reflect.Float64:
		return object{"anyOf": []any{object{"type": "number"}, variable}}
	case reflect.Int:
		return object{"anyOf": []any{object{"type": "integer"}, variable}}
	case reflect.String:
		return object{"type": []any{"string", "number", "boolean"}}
	}
	m.t.Fatalf("%s: no schema for %s", path, t)
	return nil
}

// fieldDocs reads the comments of all struct fields.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, folder := range configFolders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					noteFields(docs, parsed.Name.Name+"."+spec.Name.Name, spec)
				}
				return true
			})
		}
	}
	return docs
}

func noteFields(docs map[string]string, name string, spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	var above string // of a group of fields
	for _, field := range s.Fields.List {
		if field.Doc != nil {
			above = plain(field.Doc.Text())
		}
		for _, id := range field.Names {
			docs[name+"."+id.Name] = above
		}
	}
}

// plain is a comment as one line of text.
func plain(text string) string {
	var p comment.Parser
	var pr comment.Printer
	pr.TextWidth = -1
	return strings.Join(strings.Fields(string(pr.Text(p.Parse(text)))), " ")
}
