package registryserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
)

func TestMain(m *testing.M) { pgtest.Main(m, registrytest.Remove) }

// TestSharedRegistryAnswers: it is one, and knows a schema that it was given.
func TestSharedRegistryAnswers(t *testing.T) {
	first, second := registrytest.Start(t), registrytest.Start(t)
	if first != second || first.Pid() == 0 {
		t.Fatalf("two calls of Start gave processes %d and %d, want one that runs", first.Pid(), second.Pid())
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post, err := client.Post(first.URL()+"/subjects/s-value/versions", "application/vnd.schemaregistry.v1+json",
		strings.NewReader(`{"schema":"{\"type\":\"string\"}"}`))
	if err != nil {
		t.Fatal(err)
	}
	post.Body.Close()
	got, err := client.Get(first.URL() + "/subjects/s-value/versions/1/schema")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || post.StatusCode != http.StatusOK || string(text) != `{"type":"string"}` {
		t.Errorf("registered: %s; read back: %s %q %v", post.Status, got.Status, text, err)
	}
}
