package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// shownChanges is how many differences are told, shownBytes how much of each.
	shownChanges = 8
	shownBytes   = 160
)

// changes tells what one schema has and another has not, by the fields of the
// record or message: registries name them by number, or not at all. A text that
// cannot be read has none. It is pure.
func changes(t Type, before, after string) string {
	was, is := fields(t, before), fields(t, after)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(union(was, is))) {
		switch a, b := was[name], is[name]; {
		case a == b:
		case a == "":
			all = append(all, "new: "+cut(b))
		case b == "":
			all = append(all, "gone: "+cut(a))
		default:
			all = append(all, "was "+cut(a)+", is "+cut(b))
		}
	}
	if more := len(all) - shownChanges; more > 0 {
		all = append(all[:shownChanges], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func cut(s string) string {
	if len(s) > shownBytes {
		return s[:shownBytes] + "…"
	}
	return s
}

// fields are the texts of a schema's fields by name.
func fields(t Type, text string) map[string]string {
	found := map[string]string{}
	switch t {
	case Protobuf:
		for line := range strings.Lines(text) {
			line = strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), ";")), " ")
			if words := strings.Fields(line); len(words) >= 5 && (words[0] == "optional" || words[0] == "repeated") {
				found[words[2]] = line
			}
		}
	case JSON:
		var schema struct{ Properties map[string]json.RawMessage }
		if json.Unmarshal([]byte(text), &schema) == nil {
			for name, raw := range schema.Properties {
				found[name] = fmt.Sprintf("%q: %s", name, compact(raw))
			}
		}
	default:
		var schema struct{ Fields []json.RawMessage }
		if json.Unmarshal([]byte(text), &schema) != nil {
			return found
		}
		for _, raw := range schema.Fields {
			var field struct{ Name string }
			if json.Unmarshal(raw, &field) == nil {
				found[field.Name] = compact(raw)
			}
		}
	}
	return found
}

func compact(raw []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return string(raw)
	}
	return out.String()
}
