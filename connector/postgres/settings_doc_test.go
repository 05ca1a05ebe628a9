package postgres

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestSettingsAreDocumented: every key of a source or a sink is in the page, and
// the page has no others.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, config := range map[string]any{
		"\n### `source` of type `postgres`\n": SourceConfig{},
		"\n### `sink` of type `postgres`\n":   SinkConfig{},
	} {
		_, section, found := strings.Cut(string(page), heading)
		if !found {
			t.Fatalf("no section %q", heading)
		}
		section, _, _ = strings.Cut(section, "\n##")
		documented := map[string]bool{}
		for line := range strings.Lines(section) {
			cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "| `"), " |")
			if !isRow || !strings.HasPrefix(line, "| `") {
				continue
			}
			for key := range strings.SplitSeq(strings.Trim(cell, "`"), "`, `") {
				documented[key] = true
			}
		}
		for _, key := range keysOf(reflect.TypeOf(config), "") {
			if !documented[key] {
				t.Errorf("%s is not documented", key)
			}
			delete(documented, key)
		}
		for key := range documented {
			t.Errorf("%s is documented but does not exist", key)
		}
	}
}

// keysOf lists the keys of a configuration, nested ones with a dot.
func keysOf(config reflect.Type, prefix string) []string {
	var keys []string
	for i := range config.NumField() {
		field := config.Field(i)
		name := field.Tag.Get("yaml")
		switch {
		case name == "" || name == "-":
		case field.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOf(field.Type, prefix+name+".")...)
		default:
			keys = append(keys, prefix+name)
		}
	}
	return keys
}
