package config

import (
	"errors"
	"strings"
	"testing"
)

// TestEmptyAndZero: what would be taken as if it were not there is refused, with what
// to write.
func TestEmptyAndZero(t *testing.T) {
	const source, sink = "source: {type: fake, url: \"x://y/z\"}\n", "sink: {type: file}\n"
	for text, want := range map[string]string{
		"source: {type: fake, url: \"x://y/z\", slots: [{name: a, tables: []}]}\n" + sink: ":1:64: the list is empty: name the tables, such as [public.orders]",
		"source: {type: fake, url: \"x://y/z\", tables: {include: []}}\n" + sink:          "the list is empty",
		source + sink + "snapshot: {tables: {include: []}}\n":                             "the list is empty",
		source + sink + "stream: {type: kafka, partitions: 0}\n":                          ":3:35: a topic has a partition at least: expected 1 or more",
		source + "sink: {type: kafka, partitions: 0}\n":                                   "expected 1 or more",
		source + sink + "stream: {type: kafka, retention_hours: 0}\n":                     "0 hours keep nothing: expected 1 or more, such as 168",
		source + sink + "stream: {type: kafka, retention_hours: 00}\n":                    "0 hours keep nothing",
	} {
		_, err := parse("x.yaml", []byte(text), testEnv)
		var mistake *Error
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v", text, err)
		}
	}
	for _, text := range []string{
		"source: {type: fake, url: \"x://y/z\", tables: {include: [a.b], exclude: []}}\n" + sink,
		source + "sink: {type: kafka, partitions: 1}\n", source + sink + "stream: {type: kafka, retention_hours: 1}\n",
	} {
		if _, err := parse("x.yaml", []byte(text), testEnv); err != nil {
			t.Errorf("%s gives %v", text, err)
		}
	}
}

// TestPlacesByKey: a connector's error is shown at the key that it begins with.
func TestPlacesByKey(t *testing.T) {
	f, err := parse("x.yaml", []byte("source: {type: fake, url: \"x://y/z\"}\nsink:\n  url: a\n  conflict_strategy: newest\n  tls: {ca_file: b}\n"), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for text, line := range map[string]int{
		"postgres sink: conflict_strategy: \"newest\" is not known": 4,
		"kafka sink: tls.ca_file: no such file":                     5,
		"conflict_strategy is wrong":                                3,
		"other: conflict: strategy":                                 3,
	} {
		var placed *Error
		if err := f.Sinks[0].Place(errors.New(text)); !errors.As(err, &placed) || placed.Line != line || placed.Message != text {
			t.Errorf("%s is at %v", text, err)
		}
	}
}

// TestNotASection: what a section has is said where somebody writes a single value.
func TestNotASection(t *testing.T) {
	_, err := parse("x.yaml", []byte("source: {type: fake, url: \"x://y/z\"}\nsink: {type: file}\nretry: true\n"), testEnv)
	if err == nil || !strings.Contains(err.Error(), `:3:8: expected keys and values, found "true"`) && !strings.Contains(err.Error(), ":3:8: expected keys and values, found true") ||
		!strings.Contains(err.Error(), "this is a section, with keys of its own below it: {attempt_timeout_ms: …}; known here: attempt_timeout_ms, backoff_base_ms") {
		t.Errorf("%v", err)
	}
}
