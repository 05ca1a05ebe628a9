package encoding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
)

func cloudEvents(t testing.TB, o CloudEventsOptions) *CloudEvents {
	t.Helper()
	c, err := NewCloudEvents(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCloudEventsLines pins the form that docs/format.md describes.
func TestCloudEventsLines(t *testing.T) {
	all := events()
	native, err := NewNative().Append(nil, &all[0])
	if err != nil {
		t.Fatal(err)
	}
	data := strings.TrimSuffix(string(native), "\n")
	want := `{"specversion":"1.0","id":"shop/7-1/24094528/0","source":"urn:entrain:shop","type":"io.entrain.change.insert",` +
		`"subject":"public.or\"ders","time":"2026-11-22T20:00:00.123456Z","dataschema":"urn:entrain:shape:25cb1ce88da4a72f",` +
		`"datacontenttype":"application/json","data":` + data + "}\n"
	if got, err := cloudEvents(t, CloudEventsOptions{}).Append(nil, &all[0]); err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	o := CloudEventsOptions{Source: "https://shop.example/db?x=1", TypePrefix: "com.example.", DataSchema: "https://shop.example/shapes/"}
	got, err := cloudEvents(t, o).Append(nil, &all[6])
	want = `{"specversion":"1.0","id":"shop/7-1/24094999/2","source":"https://shop.example/db?x=1","type":"com.example.message","subject":"app",`
	if err != nil || !strings.HasPrefix(string(got), want) || strings.Contains(string(got), "dataschema") {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	if _, err := cloudEvents(t, o).Append(nil, &entrain.Event{Op: 99, Tx: tx(1)}); err == nil {
		t.Error("operation 99 was written")
	}
}

// TestCloudEventsSpecification: what CloudEvents 1.0 demands of attributes (§2 and
// §3 of the specification, §2.2 and §3 of its JSON format) holds for all events,
// and the data is the event.
func TestCloudEventsSpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyevent.NewMaker(t)
		m.Stream.Source = anyevent.Text().Draw(t, "a source of any name")
		c, err := NewCloudEvents(CloudEventsOptions{})
		if err != nil {
			t.Fatal(err)
		}
		native := NewNative()
		for range rapid.IntRange(1, 6).Draw(t, "events") {
			e := m.Event(t)
			line, err := c.Append(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			object := specified(t, line)
			want, _ := native.Append(nil, &e)
			if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), string(object["data"])); diff != "" {
				t.Fatal(diff)
			}
			binaryMode(t, c, &e, object)
		}
	})
}

var attributeName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

func specified(t *rapid.T, line []byte) map[string]json.RawMessage {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("%v: %s", err, line)
	}
	attributes := map[string]string{}
	for name, value := range object {
		var text string
		if name == "data" {
			continue
		}
		if err := json.Unmarshal(value, &text); err != nil || text == "" || !attributeName.MatchString(name) || !allowed(text) {
			t.Fatalf("attribute %s is %q: %v", name, value, err)
		}
		attributes[name] = text
	}
	for _, required := range []string{"id", "source", "specversion", "type"} {
		if attributes[required] == "" {
			t.Fatalf("there is no %s in %s", required, line)
		}
	}
	if attributes["specversion"] != "1.0" || attributes["datacontenttype"] != "application/json" {
		t.Fatalf("%v", attributes)
	}
	if _, err := url.Parse(attributes["source"]); err != nil {
		t.Fatal(err)
	}
	if schema, ok := attributes["dataschema"]; ok {
		if u, err := url.Parse(schema); err != nil || !u.IsAbs() {
			t.Fatalf("dataschema %q: %v", schema, err)
		}
	}
	if at, ok := attributes["time"]; ok {
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
	}
	return object
}

// allowed reports whether a text has only what the type String may have.
func allowed(text string) bool {
	for _, r := range text {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xffff >= 0xfffe {
			return false
		}
	}
	return utf8.ValidString(text)
}

// binaryMode: the attributes are those of the structured mode.
func binaryMode(t *rapid.T, c *CloudEvents, e *entrain.Event, object map[string]json.RawMessage) {
	n := 0
	err := c.Attributes(e, func(name string, value []byte) {
		n++
		var text string
		if err := json.Unmarshal(object[name], &text); err != nil || text != string(value) {
			t.Fatalf("%s is %q in binary mode, %q (%v) in structured mode", name, value, text, err)
		}
		if want := "ce_" + name; KafkaHeader(name) != want && name != "datacontenttype" {
			t.Fatalf("header %s", KafkaHeader(name))
		}
	})
	data, dataErr := c.Data([]byte("p"), e)
	if err != nil || dataErr != nil || n != len(object)-1 || string(data) != "p"+string(object["data"]) {
		t.Fatalf("%v, %v, %d attributes of %d", err, dataErr, n, len(object)-1)
	}
}

func TestCloudEventsHeaders(t *testing.T) {
	for attribute, want := range map[string]string{"datacontenttype": "content-type", "partitionkey": "ce_partitionkey"} {
		if got := KafkaHeader(attribute); got != want {
			t.Errorf("%s is header %s, want %s", attribute, got, want)
		}
	}
}

func TestCloudEventsOptions(t *testing.T) {
	for want, o := range map[string]CloudEventsOptions{
		"source":      {Source: "a shop"},
		"dataschema":  {DataSchema: "shapes/"},
		"type_prefix": {TypePrefix: "a\n"},
	} {
		if _, err := New("cloudevents", Options{CloudEvents: &o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := New("native", Options{CloudEvents: &CloudEventsOptions{}}); err == nil {
		t.Error("settings of the format cloudevents were taken for native")
	}
}

// TestCloudEventsAllocates proves P6 for the hot path: nothing per event.
func TestCloudEventsAllocates(t *testing.T) {
	c := cloudEvents(t, CloudEventsOptions{})
	all := events()
	buf := make([]byte, 0, 64<<10)
	got := testing.AllocsPerRun(100, func() {
		buf = buf[:0]
		for i := range all {
			buf, _ = c.Append(buf, &all[i])
		}
	})
	if got > 4 { // url.PathEscape a transaction
		t.Errorf("%v allocations for %d events", got, len(all))
	}
}

// TestTransactionsOfOneVersion: rows that are read beside the stream can have
// the version of a transaction in it, and are of another one all the same.
func TestTransactionsOfOneVersion(t *testing.T) {
	for format, want := range map[string]string{"native": `"tx":{"id":0,"version":"5","time":null}`, "flat": `"__commit_time":null`, "cloudevents": `"tx":{"id":0,"version":"5","time":null}`} {
		enc, err := New(format, Options{})
		if err != nil {
			t.Fatal(err)
		}
		first := entrain.Event{Op: entrain.OpInsert, Table: orders(), Tx: tx(5), After: row("1", nil, nil, nil, nil, nil)}
		second := first
		second.Tx = &entrain.Transaction{Stream: first.Tx.Stream, Version: 5}
		if _, err := enc.Append(nil, &first); err != nil {
			t.Fatal(err)
		}
		if line, err := enc.Append(nil, &second); err != nil || !strings.Contains(string(line), want) {
			t.Errorf("%s: %v %s", format, err, line)
		}
	}
}

func ExampleCloudEvents_Attributes() {
	c, err := NewCloudEvents(CloudEventsOptions{})
	if err != nil {
		panic(err)
	}
	e := entrain.Event{Op: entrain.OpMessage, Tx: &entrain.Transaction{Stream: &entrain.Stream{Source: "shop", Incarnation: "7-1"}, Version: 5},
		Message: &entrain.Message{Prefix: "app", Content: []byte("hello")}}
	c.Attributes(&e, func(name string, value []byte) { fmt.Printf("%s: %s\n", KafkaHeader(name), value) })
	// Output:
	// ce_specversion: 1.0
	// ce_id: shop/7-1/5/0
	// ce_source: urn:entrain:shop
	// ce_type: io.entrain.change.message
	// ce_subject: app
	// content-type: application/json
}
