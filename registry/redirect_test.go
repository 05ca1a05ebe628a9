package registry

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/entrainsync/entrain/connector"
)

// TestRedirects: SE-06. An answer of the registry sends a request, with its credentials
// and schemas, to no other server, scheme or file; to another path of its own it may.
func TestRedirects(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	port := other.URL[strings.LastIndex(other.URL, ":"):]
	for _, to := range []string{
		other.URL + "/subjects/secret-path", "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "https://HOST/", "//127.0.0.1" + port + "/",
		"http://user:word@127.0.0.1" + port, "http://169.254.169.254/latest/meta-data/", "http://metadata.internal/", "file:///etc/passwd",
		"gopher://HOST/", "ftp://HOST/", "unix:///run/docker.sock", "http://other.example/",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", strings.ReplaceAll(to, "HOST", r.Host))
				w.WriteHeader(status)
			}))
			_, err := client(t, from.URL, func(c *Config) { c.User, c.Password = "u", "Zx9-canary" }).
				Register(t.Context(), request("a-value", record("id int")))
			from.Close()
			stop := wantStop(t, err, "registry_redirect", from.URL)
			if strings.Contains(stop.Error(), "secret-path") || strings.Contains(stop.Error(), "Zx9") {
				t.Errorf("the stop tells a secret: %v", stop)
			}
		}
	}
	if asked.Load() > 0 {
		t.Errorf("another server was asked %d times", asked.Load())
	}
	path := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, moved := strings.CutPrefix(r.URL.Path, "/old"); moved {
			http.Redirect(w, r, rest, http.StatusTemporaryRedirect)
			return
		}
		if user, word, _ := r.BasicAuth(); user == "u" && word == "pw" {
			_, _ = io.WriteString(w, `{"id":7}`)
		}
	}))
	defer path.Close()
	c := client(t, path.URL+"/old", func(c *Config) { c.User, c.Password = "u", "pw" })
	if _, err := c.Register(t.Context(), request("a-value", record("id int"))); err != nil {
		t.Errorf("another path of the same server: %v", err)
	}
}

// TestRedirectsInCircles: an answer that leads to itself is no work without end.
func TestRedirectsInCircles(t *testing.T) {
	var asked atomic.Int64
	circle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer circle.Close()
	if _, err := client(t, circle.URL, nil).Register(t.Context(), request("a-value", record("id int"))); err == nil || asked.Load() > mostRedirects+1 {
		t.Errorf("asked %d times, then %v", asked.Load(), err)
	}
}

// TestAddresses: SE-06. The file's own address is one of a web server, whatever else an
// HTTP client could read.
func TestAddresses(t *testing.T) {
	for _, address := range []string{"file:///etc/passwd", "unix:///run/docker.sock", "ftp://h/", "gopher://h/", "//h", "h:8081", "http:///etc", "data:text/plain,x"} {
		if _, err := New(Config{URL: connector.Secret(address)}); err == nil {
			t.Errorf("%s is an address", address)
		}
	}
}

// TestSchemasAreNotFetched: SE-06. What the registry's schemas refer to is fetched from
// nowhere when they are compared.
func TestSchemasAreNotFetched(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	for typ, text := range map[Type]string{
		JSON:     `{"$ref":"URL/s.json","$schema":"URL/meta","properties":{"id":{"$ref":"URL/id"},"x":{"$ref":"file:///etc/passwd"}}}`,
		Protobuf: "import \"URL/a.proto\";\nimport \"/etc/passwd\";\nmessage M {\n optional int32 id = 1;\n}",
		Avro:     `{"type":"record","name":"V","fields":[{"name":"id","type":"URL.Other"}]}`,
	} {
		answers := map[string]any{
			"POST /subjects/a-value":                        sr.ResponseError{ErrorCode: 40403, Message: "Schema not found"},
			"GET /subjects/a-value/versions":                []int{1},
			"GET /subjects/a-value/versions/latest":         sr.SubjectSchema{Subject: "a-value", Version: 1, ID: 7, Schema: sr.Schema{Schema: strings.ReplaceAll(text, "URL", other.URL), Type: types[typ], References: []sr.SchemaReference{{Name: other.URL + "/ref", Subject: "b-value", Version: 1}}}},
			"POST /compatibility/subjects/a-value/versions": map[string]any{"is_compatible": false, "messages": []string{"no"}},
			"GET /config/a-value":                           map[string]string{"compatibilityLevel": "BACKWARD"},
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, known := answers[r.Method+" "+r.URL.Path]
			if _, failed := answer.(sr.ResponseError); failed || !known {
				w.WriteHeader(http.StatusNotFound)
			}
			_ = json.NewEncoder(w).Encode(answer)
		}))
		q := request("a-value", map[Type]string{JSON: `{"properties":{"y":{}}}`, Protobuf: "message M {\n optional int32 y = 1;\n}", Avro: record("y int")}[typ])
		q.Type = typ
		_, err := client(t, server.URL, nil).Register(t.Context(), q)
		server.Close()
		wantStop(t, err, "schema_incompatible", "compared to version 1", "y")
	}
	if asked.Load() > 0 {
		t.Errorf("another server was asked %d times", asked.Load())
	}
}

// TestAnswersEnd: SE-10. An answer that never ends, packed or not, is an error, and does not
// fill the memory.
func TestAnswersEnd(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 256 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"packed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		},
		"plain": func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = w.Write(bytes.Repeat([]byte("["), 1<<20))
			}
		},
	} {
		server := httptest.NewServer(answer)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := client(t, server.URL, nil).Register(t.Context(), request("a-value", record("id int")))
		runtime.ReadMemStats(&after)
		server.CloseClientConnections()
		server.Close()
		asked := after.TotalAlloc - before.TotalAlloc
		if name == "plain" {
			asked /= 2 // its server is in this process
		}
		if err == nil || asked > 8*maxAnswer {
			t.Errorf("%s: %v, and %d bytes were asked for", name, err, asked)
		}
	}
}
