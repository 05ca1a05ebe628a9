package kafka

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
	"github.com/entrainsync/entrain/registry"
)

// ordersTable is a table with a key and these columns behind it.
func ordersTable(columns ...entrain.Column) *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "orders"}
	t.Columns = append(t.Columns, entrain.Column{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true})
	t.Columns = append(t.Columns, columns...)
	t.Version = t.Fingerprint()
	return t
}

func column(name, typ string, kind entrain.Kind) entrain.Column {
	return entrain.Column{Name: name, Type: typ, Modifier: -1, Kind: kind}
}

// registered returns a sink whose format has schemas in a real registry.
func registered(t *testing.T, format string, set func(*registry.Config)) (s *Sink, address, id, url string) {
	t.Helper()
	address, id, url = broker(t), unique(), registrytest.Start(t).URL()
	cfg := &registry.Config{URL: connector.Secret(url)}
	if set != nil {
		set(cfg)
	}
	s = newTestSink(t, address, id, func(c *SinkConfig) {
		c.Format, c.SchemaRegistry, c.MessageTopic = format, cfg, id+".message"
	})
	return s, address, id, url
}

// ask returns what the registry answers.
func ask(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s %v", url, answer.Status, text, err)
	}
	return string(text)
}

// decode reads a key or value as a consumer does: by the schema whose id stands in
// front of it.
func decode(t *testing.T, url string, b []byte) map[string]any {
	t.Helper()
	if len(b) < 5 || b[0] != 0 {
		t.Fatalf("%q does not begin as the wire format does", b)
	}
	schema, err := avro.Parse(ask(t, fmt.Sprintf("%s/schemas/ids/%d/schema", url, binary.BigEndian.Uint32(b[1:5]))))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	rest, err := schema.Decode(b[5:], &got)
	if err != nil || len(rest) > 0 {
		t.Fatalf("decode %q: %v, %d bytes are left", b, err, len(rest))
	}
	return got
}

// summary tells records as a consumer sees them: key, operation, columns, what was
// not carried.
func summary(t *testing.T, url string, all []*kgo.Record) string {
	t.Helper()
	var out strings.Builder
	for _, r := range all {
		fmt.Fprintf(&out, "%v", key(t, url, r))
		if r.Value == nil {
			out.WriteString(" null\n")
			continue
		}
		v := decode(t, url, r.Value)
		fmt.Fprintf(&out, " %v deleted=%v", v["__op"], v["__deleted"])
		for _, name := range []string{"id", "note", "paid", "total"} {
			if value, there := v[name]; there {
				fmt.Fprintf(&out, " %s=%v", name, value)
			}
		}
		fmt.Fprintf(&out, " unchanged=%v\n", v["__unchanged"])
	}
	return out.String()
}

func key(t *testing.T, url string, r *kgo.Record) any {
	if r.Key == nil {
		return nil
	}
	return decode(t, url, r.Key)["id"]
}

// TestAvroEvolves: a column that is new is a second version of the schema, one of
// another type is a stop before anything of it is written, and the advice leads on.
func TestAvroEvolves(t *testing.T) {
	sink, address, id, url := registered(t, "avro", nil)
	topic := id + ".public.orders"
	text, null, same := entraintest.Text, entraintest.Null, entraintest.Unchanged
	first := ordersTable(column("note", "text", entrain.Text))
	second := ordersTable(column("note", "text", entrain.Text), column("paid", "bool", entrain.Boolean))
	third := ordersTable(column("note", "int4", entrain.Integer), column("paid", "bool", entrain.Boolean))
	w, _ := open(t, sink)
	write(t, w,
		batchOf(1, entraintest.Insert(first, text("1"), text("a")), entraintest.Update(first, text("1"), same), entraintest.Delete(first, "1")),
		batchOf(2, entraintest.Insert(second, text("2"), null, text("t")), entraintest.Truncate(second)))
	retyped := batchOf(3, entraintest.Insert(third, text("3"), text("7"), null))
	stop := wantStop(t, w.Write(t.Context(), retyped), "schema_incompatible")
	w.Close()
	for _, want := range []string{"public.orders", topic + "-value", "event shop/inc/3/0", "BACKWARD", "reader union lacking writer type: STRING",
		`compared to version 2: was {"name":"note","type":["null","string"],"default":null}, is {"name":"note","type":["null","int"],"default":null}`} {
		if !strings.Contains(stop.Error(), want) {
			t.Errorf("the stop does not say %q: %v", want, stop)
		}
	}
	if stop.Table != third {
		t.Errorf("the stop is about table %v", stop.Table)
	}
	advise(t, stop.Next, 0)
	w, at := open(t, sink)
	if at.Offset != "2" {
		t.Fatalf("the position is %s, want 2", at)
	}
	write(t, w, retyped)
	advise(t, stop.Next, 1)
	if got := ask(t, url+"/config/"+topic+"-value"); got != `{"compatibilityLevel":"BACKWARD"}` {
		t.Errorf("after the advice the level is %s", got)
	}
	settle(t, address, id)
	compare(t, summary(t, url, records(t, address, topic)), `
1 insert deleted=false id=1 note=a unchanged=[]
1 update deleted=false id=1 note=<nil> unchanged=[note]
1 delete deleted=true id=1 note=<nil> unchanged=[]
1 null
2 insert deleted=false id=2 note=<nil> paid=true unchanged=[]
<nil> truncate deleted=false id=<nil> note=<nil> paid=<nil> unchanged=[]
3 insert deleted=false id=3 note=7 paid=<nil> unchanged=[]
`)
	if got := ask(t, url+"/subjects/"+topic+"-value/versions"); got != "[1,2,3]" {
		t.Errorf("the subject has versions %s, want three", got)
	}
	if got := ask(t, url+"/subjects/"+topic+"-key/versions"); got != "[1]" {
		t.Errorf("the key's subject has versions %s, want one", got)
	}
}

var curls = regexp.MustCompile(`curl .*?/config/[^ ]*'`)

// advise runs a command that a stop names.
func advise(t *testing.T, next string, which int) {
	t.Helper()
	commands := curls.FindAllString(next, -1)
	if len(commands) != 2 {
		t.Fatalf("%d commands in %q, want 2", len(commands), next)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine, which the advice needs")
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", commands[which]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", commands[which], err, out)
	}
}

// TestUnrepresentable: what Avro's date has no place for is a stop that names row,
// column and setting; as a string it is there.
func TestUnrepresentable(t *testing.T) {
	table := ordersTable(column("note", "date", entrain.Text))
	event := func() *entrain.Batch {
		return batchOf(1, entraintest.Insert(table, entraintest.Text("1"), entraintest.Text("infinity")))
	}
	sink, _, _, _ := registered(t, "avro", nil)
	w, _ := open(t, sink)
	stop := wantStop(t, w.Write(t.Context(), event()), "value_unrepresentable")
	for _, want := range []string{`"infinity"`, "column note", "public.orders", "shop/inc/1/0", `as_string: ["public.orders.note"]`} {
		if !strings.Contains(stop.Error(), want) {
			t.Errorf("the stop does not say %q: %v", want, stop)
		}
	}
	sink, address, id, url := registered(t, "avro", func(c *registry.Config) { c.AsString = []string{"public.orders.note"} })
	w, _ = open(t, sink)
	write(t, w, event())
	settle(t, address, id)
	compare(t, summary(t, url, records(t, address, id+".public.orders")), `1 insert deleted=false id=1 note=infinity unchanged=[]`)
}

// TestJSONHasSchemaInHeader: the value is that of the format, the header leads to
// the schema.
func TestJSONHasSchemaInHeader(t *testing.T) {
	for format, want := range map[string]string{"json": `"__op":"insert"`, "flat": `"__op":"insert"`, "native": `"op":"insert"`} {
		sink, address, id, url := registered(t, format, nil)
		w, _ := open(t, sink)
		write(t, w, batchOf(1, entraintest.Insert(ordersTable(column("note", "text", entrain.Text)), entraintest.Text("1"), entraintest.Text("a"))))
		settle(t, address, id)
		all := records(t, address, id+".public.orders")
		if len(all) != 1 || !strings.Contains(string(all[0].Value), want) || string(all[0].Key) != `{"id":1}` {
			t.Fatalf("%s: got %v", format, all)
		}
		at := slices.IndexFunc(all[0].Headers, func(h kgo.RecordHeader) bool { return h.Key == headerSchema })
		if at < 0 {
			t.Fatalf("%s: no header %s in %v", format, headerSchema, all[0].Headers)
		}
		schema := ask(t, url+"/schemas/ids/"+string(all[0].Headers[at].Value)+"/schema")
		if !strings.Contains(schema, `"title":"public.orders.Value"`) {
			t.Errorf("%s: the header leads to %s", format, schema)
		}
	}
}

// protobuf reads a value as a consumer does: the schema by its id, of which it is
// the first message.
func protobuf(t *testing.T, url string, b []byte) protoreflect.Message {
	t.Helper()
	if len(b) < registry.HeaderBytes || b[0] != 0 || b[5] != 0 {
		t.Fatalf("%q does not begin as the wire format does", b)
	}
	text := ask(t, fmt.Sprintf("%s/schemas/ids/%d/schema", url, binary.BigEndian.Uint32(b[1:5])))
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"t.proto": text}),
	})}
	files, err := compiler.Compile(t.Context(), "t.proto")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	m := dynamicpb.NewMessage(files[0].Messages().Get(0))
	if err := proto.Unmarshal(b[registry.HeaderBytes:], m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestProtobufEvolves: as with Avro, and events without a table have a schema, too.
func TestProtobufEvolves(t *testing.T) {
	sink, address, id, url := registered(t, "protobuf", func(c *registry.Config) { c.SchemaID = registry.Both })
	text := entraintest.Text
	first := ordersTable(column("note", "text", entrain.Text))
	second := ordersTable(column("note", "text", entrain.Text), column("at", "timestamptz", entrain.Text))
	second.FullIdentity = true
	third := ordersTable(column("note", "int4", entrain.Integer), column("at", "timestamptz", entrain.Text))
	w, _ := open(t, sink)
	write(t, w,
		batchOf(1, entraintest.Insert(first, text("1"), text("a")), entraintest.Delete(first, "1")),
		batchOf(2, entraintest.Insert(second, text("2"), text("b"), text("2026-11-22 20:00:00.5+00"))),
		batchOf(3, entraintest.Message("app", "hello")))
	stop := wantStop(t, w.Write(t.Context(), batchOf(4, entraintest.Insert(third, text("3"), text("7"), entraintest.Null))), "schema_incompatible")
	if want := "was optional string note ="; !strings.Contains(stop.Error(), want) {
		t.Errorf("the stop does not say %q: %v", want, stop)
	}
	w.Close()
	settle(t, address, id)
	var got []string
	for _, r := range append(records(t, address, id+".public.orders"), records(t, address, id+".message")...) {
		line := fmt.Sprintf("%x", r.Key[min(len(r.Key), registry.HeaderBytes):])
		if r.Value != nil {
			line += tell(protobuf(t, url, r.Value))
		}
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	compare(t, strings.Join(got, "\n"), `
80ae8d6a01 __op=insert id=1 note=a
80ae8d6a01 __op=delete __deleted=true id=1
80ae8d6a01
__op=insert id=2 note=b at=1795377600.500000000
__op=message __prefix=app __content=hello
`)
}

// TestCopyWithSchemas: the rows of a first copy, whose ordinals have the highest bit
// set, go through every format with schemas, and a consumer gets each ordinal back.
func TestCopyWithSchemas(t *testing.T) {
	table := ordersTable(column("note", "text", entrain.Text))
	for format, ordinal := range map[string]func(value []byte, url string) uint64{
		"avro": func(value []byte, url string) uint64 {
			return uint64(decode(t, url, value)["__ordinal"].(int64)) // two's complement: docs/registry.md
		},
		"protobuf": func(value []byte, url string) uint64 {
			m := protobuf(t, url, value)
			return m.Get(m.Descriptor().Fields().ByName("__ordinal")).Uint()
		},
		"flat": func(value []byte, _ string) uint64 {
			var line struct {
				Ordinal uint64 `json:"__ordinal"`
			}
			if err := json.Unmarshal(value, &line); err != nil {
				t.Errorf("%s: %v", value, err)
			}
			return line.Ordinal
		},
	} {
		t.Run(format, func(t *testing.T) {
			sink, address, id, url := registered(t, format, nil)
			w, _ := open(t, sink)
			batch := batchOf(41219943, entraintest.Insert(table, entraintest.Text("1"), entraintest.Text("a")),
				entraintest.Insert(table, entraintest.Text("2"), entraintest.Text("b")))
			want := []uint64{1 << 63, 1<<63 | 5<<40 | 7}
			for i := range batch.Events {
				batch.Events[i].Op, batch.Events[i].Ordinal = entrain.OpRead, want[i]
			}
			write(t, w, batch)
			settle(t, address, id)
			var got []uint64
			for _, r := range records(t, address, id+".public.orders") {
				got = append(got, ordinal(r.Value, url))
			}
			if !slices.Equal(got, want) {
				t.Errorf("a consumer gets the ordinals %d, want %d", got, want)
			}
		})
	}
}

// tell names the fields of a message that tests want to see.
func tell(m protoreflect.Message) string {
	line := ""
	for _, name := range []protoreflect.Name{"__op", "__deleted", "id", "note", "at", "__prefix", "__content"} {
		f := m.Descriptor().Fields().ByName(name)
		if f == nil || !m.Has(f) {
			continue
		}
		value := m.Get(f).Interface()
		if at, isTime := value.(protoreflect.Message); isTime {
			parts := at.Descriptor().Fields()
			value = fmt.Sprintf("%d.%09d", at.Get(parts.ByName("seconds")).Int(), at.Get(parts.ByName("nanos")).Int())
		}
		if raw, isBytes := value.([]byte); isBytes {
			value = string(raw)
		}
		line += fmt.Sprintf(" %s=%v", name, value)
	}
	return line
}
