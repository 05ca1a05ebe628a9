package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
)

func TestMain(m *testing.M) { pgtest.Main(m, registrytest.Remove) }

func client(t *testing.T, url string, set func(*Config)) *Client {
	t.Helper()
	cfg := Config{URL: connector.Secret(url)}
	if set != nil {
		set(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fake returns a registry in the process, whose level for all subjects is BACKWARD.
func fake(t *testing.T, opts ...srfake.Option) *srfake.Registry {
	t.Helper()
	r := srfake.New(append([]srfake.Option{srfake.WithGlobalCompat(sr.CompatBackward)}, opts...)...)
	t.Cleanup(r.Close)
	return r
}

// record is an Avro schema with fields of these types, all of which may be left out.
func record(fields ...string) string {
	list := make([]string, len(fields))
	for i, f := range fields {
		name, typ, _ := strings.Cut(f, " ")
		list[i] = fmt.Sprintf(`{"name":%q,"type":["null",%q],"default":null}`, name, typ)
	}
	return `{"type":"record","name":"Value","namespace":"s.t","fields":[` + strings.Join(list, ",") + `]}`
}

var names atomic.Int64

func request(subject, schema string) Request {
	return Request{Subject: subject, Type: Avro, Schema: schema, Table: &entrain.Table{Schema: "s", Name: "t"}, At: "event shop/inc/7/0"}
}

func subject() string { return fmt.Sprintf("t%d-%d-value", time.Now().UnixNano(), names.Add(1)) }

func wantStop(t *testing.T, err error, code string, texts ...string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code {
		t.Fatalf("got %v, want the stop %s", err, code)
	}
	if entrain.IsRetryable(err) || stop.Why == "" || stop.Next == "" {
		t.Errorf("the stop %s lacks an answer, or would be tried again: %v", code, stop)
	}
	for _, text := range texts {
		if !strings.Contains(stop.Error(), text) {
			t.Errorf("the stop %s does not say %q: %v", code, text, stop)
		}
	}
	return stop
}

// TestRegisterOnce: one id for one schema, from one request, in all sessions; another
// version that fits gets another id.
func TestRegisterOnce(t *testing.T) {
	r := fake(t)
	asked := atomic.Int64{}
	r.Intercept(func(http.ResponseWriter, *http.Request) bool { asked.Add(1); return false })
	c := client(t, r.URL(), nil)
	first, err := c.Register(t.Context(), request("a-value", record("id int")))
	if err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	again, err := c.Register(t.Context(), request("a-value", record("id int")))
	if err != nil || again != first || asked.Load() != before {
		t.Errorf("again: id %d, was %d; %d requests more; %v", again, first, asked.Load()-before, err)
	}
	other, err := client(t, r.URL(), nil).Register(t.Context(), request("a-value", record("id int")))
	if err != nil || other != first || asked.Load() != before+1 {
		t.Errorf("another session: id %d, was %d; %d requests; %v", other, first, asked.Load()-before, err)
	}
	second, err := c.Register(t.Context(), request("a-value", record("id int", "b string")))
	if err != nil || second == first {
		t.Errorf("another version: id %d after %d, %v", second, first, err)
	}
}

// TestIncompatible: the registry's reasons are told and nothing is registered.
func TestIncompatible(t *testing.T) {
	r := fake(t)
	c := client(t, r.URL(), nil)
	if _, err := c.Register(t.Context(), request("a-value", record("id int"))); err != nil {
		t.Fatal(err)
	}
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasPrefix(req.URL.Path, "/compatibility/") {
			return false
		}
		json.NewEncoder(w).Encode(sr.CheckCompatibilityResult{Messages: []string{"READER_FIELD_MISSING_DEFAULT_VALUE", "id is\n another type"}})
		return true
	})
	_, err := c.Register(t.Context(), request("a-value", record("id string")))
	stop := wantStop(t, err, "schema_incompatible", "s.t", "a-value", "shop/inc/7/0", "BACKWARD", "READER_FIELD_MISSING_DEFAULT_VALUE; id is another type",
		`was {"name":"id","type":["null","int"],"default":null}, is {"name":"id","type":["null","string"],"default":null}`, "/config/a-value'")
	if !stop.Data || stop.Table == nil {
		t.Errorf("the stop is not about the table's data: %+v", stop)
	}
	if _, there := r.GetSchema("a-value", 2); there {
		t.Error("the version was registered")
	}
}

// TestProtects: a subject that is made where nothing would be checked gets the
// file's level; one that is there, or has one, is left as it is.
func TestProtects(t *testing.T) {
	url := registrytest.Start(t).URL()
	level := func(subject string) string {
		got := client(t, url, nil).api.Compatibility(t.Context(), subject)[0]
		if got.Err != nil {
			t.Fatal(got.Err)
		}
		return got.Level.String()
	}
	for file, want := range map[string]string{"": "BACKWARD", "full_transitive": "FULL_TRANSITIVE", "none": "NONE"} {
		name := subject()
		c := client(t, url, func(cfg *Config) { cfg.Compatibility = file })
		if _, err := c.Register(t.Context(), request(name, record("id int"))); err != nil {
			t.Fatal(err)
		}
		if got := level(name); got != want {
			t.Errorf("compatibility %q: the level is %s, want %s", file, got, want)
		}
	}
	name := subject()
	c := client(t, url, nil)
	if err := c.api.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatForward}, name)[0].Err; err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register(t.Context(), request(name, record("id int"))); err != nil {
		t.Fatal(err)
	}
	if got := level(name); got != "FORWARD" {
		t.Errorf("a level that was there is %s now", got)
	}
}

// TestApicurioTellsWhy: a registry that gives no reason when it is asked gives one
// when it refuses.
func TestApicurioTellsWhy(t *testing.T) {
	url, name := registrytest.Start(t).URL(), subject()
	c := client(t, url, nil)
	for _, schema := range []string{record("id int"), record("id int", "b string")} {
		if _, err := c.Register(t.Context(), request(name, schema)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Register(t.Context(), request(name, record("id string", "b string")))
	wantStop(t, err, "schema_incompatible", "reader union lacking writer type: INT at /fields/0/type/1", "compared to version 2")
}

// TestLanguages: a real registry takes schemas of all three, and a message's index
// stands behind the id of Protobuf.
func TestLanguages(t *testing.T) {
	c := client(t, registrytest.Start(t).URL(), nil)
	for kind, schema := range map[Type]string{
		Avro:     record("id int"),
		Protobuf: "syntax = \"proto2\";\npackage s.t;\nmessage Value {\n  optional int32 id = 300000 [json_name = \"id\"];\n}\n",
		JSON:     `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":"integer"}}}`,
	} {
		r := request(subject(), schema)
		r.Type = kind
		id, err := c.Register(t.Context(), r)
		if err != nil || id == 0 {
			t.Errorf("type %d: id %d, %v", kind, id, err)
		}
	}
	if got := fmt.Sprintf("%x %x", AppendHeader(nil, Avro, 258), AppendHeader(nil, Protobuf, 258)); got != "0000000102 000000010200" {
		t.Errorf("headers %s", got)
	}
}

// TestAway: a registry that does not answer, or cannot now, is tried again, and what
// it says instead of an answer is a stop.
func TestAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err := client(t, gone.URL, nil).Register(t.Context(), request("a-value", record("id int")))
	var unreachable *entrain.Unreachable
	if !entrain.IsRetryable(err) || !errors.As(err, &unreachable) || !strings.Contains(unreachable.Next, gone.URL) {
		t.Errorf("nobody listens: %v", err)
	}
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then the server sees that the client is gone
		<-r.Context().Done()
	}))
	defer hangs.Close()
	_, err = client(t, hangs.URL, func(c *Config) { c.Timeout = 50 * time.Millisecond }).Register(t.Context(), request("a-value", record("id int")))
	if !entrain.IsRetryable(err) {
		t.Errorf("it hangs: %v", err)
	}
	for status, code := range map[int]string{401: "registry_denied", 403: "registry_denied", 404: "schema_refused", 422: "schema_refused", 500: "", 503: "", 429: ""} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := client(t, server.URL, nil).Register(t.Context(), request("a-value", record("id int")))
		server.Close()
		if code != "" {
			wantStop(t, err, code, "s.t")
		} else if !entrain.IsRetryable(err) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	for _, answer := range []string{"{}", `{"id":0}`, `{"id":-1}`, `{"id":4294967296}`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }))
		id, err := client(t, server.URL, nil).Register(t.Context(), request("a-value", record("id int")))
		server.Close()
		if wantStop(t, err, "schema_refused", "s.t"); id != 0 {
			t.Errorf("%s became the id %d", answer, id)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = client(t, gone.URL, nil).Register(ctx, request("a-value", record("id int"))); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestLogsIn: each way to log in is what the registry wants, and no error tells the
// secret.
func TestLogsIn(t *testing.T) {
	for want, set := range map[string]func(*Config){
		"Basic dTpwdw==": func(c *Config) { c.User, c.Password = "u", "pw" },
		"Bearer secret":  func(c *Config) { c.Token = "secret" },
	} {
		r := fake(t, srfake.WithAuth(want))
		if _, err := client(t, r.URL(), set).Register(t.Context(), request("a-value", record("id int"))); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		_, err := client(t, r.URL(), func(c *Config) { c.User, c.Password = "u", "wrong" }).Register(t.Context(), request("b-value", record("id int")))
		if stop := wantStop(t, err, "registry_denied"); strings.Contains(stop.Error(), "wrong'") || strings.Contains(stop.Error(), "pw") {
			t.Errorf("the stop tells a secret: %v", stop)
		}
	}
	r := fake(t, srfake.WithAuth("Basic dTpwdw=="))
	url := strings.Replace(r.URL(), "http://", "http://u:pw@", 1)
	if _, err := client(t, url, nil).Register(t.Context(), request("a-value", record("id int"))); err != nil {
		t.Errorf("in the url: %v", err)
	}
}

// TestRegisterFalse: what is missing is a stop whose command registers it.
func TestRegisterFalse(t *testing.T) {
	r, no := fake(t), false
	c := client(t, r.URL(), func(cfg *Config) { cfg.Register = &no })
	_, err := c.Register(t.Context(), request("a-value", record("id int")))
	wantStop(t, err, "schema_missing", "/subjects/a-value/versions", `\"name\":\"id\"`)
	if r.SubjectExists("a-value") {
		t.Error("the schema was registered")
	}
}

func TestSubjects(t *testing.T) {
	for strategy, want := range map[string]string{"": "shop.t-key", "topic_name": "shop.t-key", "record_name": "s.t.Key", "topic_record_name": "shop.t-s.t.Key"} {
		c := client(t, "http://localhost", func(cfg *Config) { cfg.Subject = strategy })
		if got := c.SubjectName("shop.t", "s.t.Key", Key); got != want {
			t.Errorf("%s: %s, want %s", strategy, got, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{}, {URL: "localhost:8081"}, {URL: "ftp://a"}, {URL: "http://a", Subject: "x"}, {URL: "http://a", Compatibility: "x"}, {URL: "http://a", SchemaID: "x"},
		{URL: "http://a", User: "u"}, {URL: "http://a", User: "u", Password: "p", Token: "t"}, {URL: "http://a", Timeout: -1},
		{URL: "http://a", TLS: &TLSConfig{CAFile: "/none"}}, {URL: "http://a", TLS: &TLSConfig{CertFile: "/none"}}, {URL: "http://a,b"},
	} {
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "http://a") {
			t.Errorf("%+v: error %v", cfg, err)
		}
	}
}

func TestChanges(t *testing.T) {
	long := strings.Repeat("x", 400)
	for _, c := range []struct {
		kind          Type
		before, after string
		want          string
	}{
		{Avro, record("a int", "b int"), record("a int", "c int"),
			`gone: {"name":"b","type":["null","int"],"default":null}; new: {"name":"c","type":["null","int"],"default":null}`},
		{Protobuf, "message V {\n  optional int32 a = 7;\n optional string b = 8;\n}", "message V {\n  optional int64 a = 7;\n  optional  string b = 8;\n}",
			"was optional int32 a = 7, is optional int64 a = 7"},
		{JSON, `{"properties":{"a":{"type":"string"}}}`, `{"properties":{"a": {"type": "integer"}}}`, `was "a": {"type":"string"}, is "a": {"type":"integer"}`},
		{Avro, "no json", record(), ""}, {JSON, "7", "{}", ""},
		{JSON, `{}`, `{"properties":{"` + long + `":1}}`, `new: "` + long[:159] + "…"},
	} {
		if got := changes(c.kind, c.before, c.after); got != c.want {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("c%02d int", i)
	}
	if got := changes(Avro, record(), record(many...)); strings.Count(got, "new: ") != shownChanges || !strings.HasSuffix(got, "; and 12 more") {
		t.Errorf("of 20 changes: %s", got)
	}
}

// TestSubjectOfAnotherType: a subject whose versions are in another language is named, not
// asked about for ever; and what the stop says to type helps.
func TestSubjectOfAnotherType(t *testing.T) {
	url, name := registrytest.Start(t).URL(), subject()
	c := client(t, url, nil)
	proto := request(name, "syntax = \"proto2\";\npackage s.t;\nmessage Value {\n  optional int32 id = 300000 [json_name = \"id\"];\n}\n")
	proto.Type = Protobuf
	object := request(name, `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":"integer"}}}`)
	object.Type = JSON
	all := map[string]Request{"AVRO": request(name, record("id int")), "PROTOBUF": proto, "JSON": object}
	for was, first := range all {
		for is, second := range all {
			if was == is {
				continue
			}
			if _, err := c.Register(t.Context(), first); err != nil {
				t.Fatalf("%s: %v", was, err)
			}
			_, err := client(t, url, nil).Register(t.Context(), second)
			stop := wantStop(t, err, "schema_type", name, "s.t", "shop/inc/7/0", "is "+was, "writes "+is)
			_, command, there := strings.Cut(stop.Next, "; or, when nobody reads by it any more, remove it for good: ")
			command, _, _ = strings.Cut(command, "; then: ")
			if !there || !strings.HasPrefix(command, "curl ") {
				t.Fatalf("the advice is %s", stop.Next)
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			again := client(t, url, nil)
			if _, err := again.Register(t.Context(), second); err != nil {
				t.Errorf("%s behind %s, after %s: %v", is, was, command, err)
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			c = client(t, url, nil)
		}
	}
}
