package config

import (
	"strconv"
	"strings"
	"testing"
)

// TestRetry: what the section for retries and those beside it say when parts are left
// out, and what they refuse.
func TestRetry(t *testing.T) {
	const head = "name: a\nsource: {type: fake, url: 'x://y/z'}\nsink: {type: file}\n"
	for text, want := range map[string]string{
		"retry: {circuit_breaker: {}}\n":                             "5 30000",
		"retry: {circuit_breaker: {failures: 2}}\n":                  "2 30000",
		"retry: {attempt_timeout_ms: 7}\n":                           "none 7",
		"retry: {circuit_breaker: {failures: 0}}\n":                  "! expected 1 or more, such as 5",
		"retry: {circuit_breaker: {open_ms: 0}}\n":                   "! expected milliseconds, such as 30000",
		"retry: {attempt_timeout_ms: -1}\n":                          "! expected milliseconds, such as 60000",
		"dead_letter: {topic: a, table: entrain.dead_letter}\n":      "! kept in one place",
		"reconciliation: {topic: a}\n":                               "none 0",
		"reconciliation: {}\n":                                       "! expected the name of a topic",
		"dead_letter: {topic: a}\nreconciliation: {topic: a}\n":      "! the topic has the dead letters",
		"deduplication: {url: 'redis://a'}\n":                        "none 0",
		"deduplication: {url: 'redis://a', ttl_seconds: -1}\n":       "! expected 1 or more",
		"deduplication: {url: 'redis://a', key_pattern: '{what}'}\n": "! stands for nothing",
	} {
		f, err := Load(write(t, "x.yaml", head+text), nil)
		got := "none "
		switch {
		case err != nil:
			got = "! " + err.Error()
		case f.Retry.CircuitBreaker != nil:
			got = strconv.Itoa(f.Retry.CircuitBreaker.Failures) + " " + strconv.Itoa(f.Retry.CircuitBreaker.OpenMS)
		default:
			got += strconv.Itoa(f.Retry.AttemptTimeoutMS)
		}
		refused := strings.HasPrefix(want, "! ")
		if refused && (!strings.HasPrefix(got, "! ") || !strings.Contains(got, want[2:])) || !refused && got != want {
			t.Errorf("%s gives %s, want %s", text, got, want)
		}
	}
	f, err := Load(write(t, "y.yaml", head+"deduplication: {url: 'redis://a'}\n"), nil)
	if err != nil || f.Deduplication.TTLSeconds != day || f.Deduplication.Backend != "redis" {
		t.Errorf("%+v, %v", f.Deduplication, err)
	}
}
