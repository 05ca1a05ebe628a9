package config

import "maps"

// words are what reform takes in a section of one type, besides its own keys.
var words = map[string]map[string]object{
	"source": {"postgres": object{
		"logical_replication": object{"const": true, "description": "changes are read by logical replication"},
		"slots":               object{"type": "array", "minItems": 1, "maxItems": 1, "items": slotSchema, "description": "slot, publication and tables in another form; what is missing is made"},
	}},
	"stream": {"kafka": object{
		"retention_hours":     object{"type": "integer", "minimum": 1, "description": "retention in hours"},
		"format":              object{"enum": []any{"json", "native"}, "description": "of the records, which are JSON"},
		"schema_registry_url": object{"type": "string", "description": "schema_registry.url, beside schema_registry: true"},
	}},
	"sink": {"postgres": sinkWords, "kafka": sinkWords, "nats": sinkWords, "redis": sinkWords, "file": sinkWords},
}

var slotSchema = object{"type": "object", "additionalProperties": false, "properties": object{
	"name":         object{"type": "string", "description": "the slot's"},
	"publication":  object{"type": "string"},
	"publications": object{"type": "array", "items": object{"type": "string"}},
	"tables":       object{"type": "array", "minItems": 1, "items": object{"type": "string"}, "description": "a name without a schema is one of public"},
}}

var sinkWords = object{
	"consistency": object{"enum": []any{"eventual", "transactional"}, "description": "whether the stream's partitions may take transactions apart"},
	"dead_letter": object{"$ref": "#/properties/dead_letter"},
}

// typeWords are other words for type.
var typeWords = map[string]string{"source": "database", "stream": "broker"}

// otherWords adds to the schema what reform takes.
func otherWords(root object) {
	for section, types := range words {
		part := root[section].(object)
		cases := part["allOf"].([]any)
		for _, c := range cases {
			typ := c.(object)["if"].(object)["properties"].(object)["type"].(object)["const"].(string)
			then := c.(object)["then"].(object)
			maps.Copy(then["properties"].(object), types[typ])
			if word := typeWords[section]; word != "" {
				cases = append(cases, object{
					"if":   object{"properties": object{word: object{"const": typ}}, "required": []any{word}},
					"then": withWord(then, word, typ),
				})
			}
		}
		part["allOf"] = cases
		if word := typeWords[section]; word != "" {
			part["properties"].(object)[word] = object{"enum": part["properties"].(object)["type"].(object)["enum"]}
			delete(part, "required")
			part["anyOf"] = []any{object{"required": []any{"type"}}, object{"required": []any{word}}}
		}
	}
	defaultType(root["sink"].(object))
	registrySwitch(root["stream"].(object))
	consumer := root["consumer"].(object)["properties"].(object)
	for _, key := range []string{"retry", "dead_letter", "deduplication"} {
		consumer[key] = object{"$ref": "#/properties/" + key}
	}
}

// withWord is the schema of a section whose type another word names.
func withWord(then object, word, typ string) object {
	own, properties := maps.Clone(then), maps.Clone(then["properties"].(object))
	delete(properties, "type")
	properties[word] = object{"const": typ}
	own["properties"] = properties
	return own
}

// defaultType lets a sink without a type be one of the default.
func defaultType(sink object) {
	delete(sink, "required")
	for _, c := range sink["allOf"].([]any) {
		test := c.(object)["if"].(object)
		if test["properties"].(object)["type"].(object)["const"] == defaultSinkType {
			delete(test, "required")
		}
	}
}

// registrySwitch lets schema_registry be true or false.
func registrySwitch(stream object) {
	for _, c := range stream["allOf"].([]any) {
		properties := c.(object)["then"].(object)["properties"].(object)
		if section, ok := properties["schema_registry"].(object); ok && section["anyOf"] == nil {
			properties["schema_registry"] = object{"anyOf": []any{section, object{"type": "boolean"}}}
		}
	}
}
