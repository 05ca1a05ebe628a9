package corpus

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/kafka"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
	"github.com/entrainsync/entrain/registry"
)

// A wide table has a column for each type, and one for its arrays, so that a topic and a
// schema are enough for many types. The edgy one has those of which a format refuses
// values: they are strings there by as_string.
type wide struct {
	name  string
	kinds []*kind
	edgy  bool
}

func (e *ends) wides() []*wide {
	all := []*wide{{name: "w_all"}, {name: "w_edge", edgy: true}}
	for _, k := range e.kinds {
		edgy := slices.ContainsFunc(rules, func(r rule) bool { return r.gets == refused && r.matches(k) })
		i := 0
		if edgy {
			i = 1
		}
		all[i].kinds = append(all[i].kinds, k)
	}
	return all
}

// column is the name of a type's column v or a.
func (k *kind) column(name string) string { return name + strings.TrimPrefix(k.table, "c") }

// rows is how many a wide table has on each path.
func (w *wide) rows() int {
	longest := 0
	for _, k := range w.kinds {
		longest = max(longest, len(k.values))
	}
	return 1 + longest
}

func (w *wide) createSQL() string {
	columns := []string{"id int PRIMARY KEY"}
	for _, k := range w.kinds {
		columns = append(columns, k.column("v")+" "+k.name, k.column("a")+" "+k.name+"[]")
	}
	return "CREATE TABLE public." + w.name + " (" + strings.Join(columns, ", ") + ")"
}

// fillSQL puts the nth value and array of each type into the nth row of a path. Large
// values are left out: a broker does not take them all.
func (w *wide) fillSQL(path int) string {
	columns := []string{fmt.Sprintf("n + %d", path*pathStep)}
	for _, k := range w.kinds {
		large := []string{"-1"}
		for i, v := range k.values {
			if v.large {
				large = append(large, fmt.Sprint(firstID+i))
			}
		}
		columns = append(columns, fmt.Sprintf("(SELECT v FROM public.%s WHERE id = n AND n <> ALL ('{%s}'))", k.table, strings.Join(large, ",")),
			fmt.Sprintf("(SELECT a FROM public.%s WHERE id = n + %d)", k.table, arrayID))
	}
	return fmt.Sprintf("INSERT INTO public.%s SELECT %s FROM generate_series(0, %d) n", w.name, strings.Join(columns, ", "), w.rows()-1)
}

// asString are the columns that are strings in the schema.
func (w *wide) asString() (all []string) {
	for _, k := range w.kinds {
		if w.edgy {
			all = append(all, "public."+w.name+"."+k.column("v"))
		}
	}
	return all
}

// cells are those that the wide tables carry.
func (e *ends) wideCells(texts map[cell]*string) map[cell]*string {
	all := map[cell]*string{}
	for c, text := range texts {
		n := c.id - firstID
		values := e.byTable[c.table].values
		if c.column == "v" && n >= 0 && n < len(values) && !values[n].large || c.column == "a" && c.id >= arrayID {
			all[c] = text
		}
	}
	return all
}

// seen are the cells of a wide row: of the types that have so many values.
func (w *wide) seen(format string, id int, value func(column string) any) (all []seen) {
	n, path := id%pathStep, id/pathStep*pathStep
	for _, k := range w.kinds {
		if n >= firstID && n < firstID+len(k.values) && !k.values[n-firstID].large {
			all = append(all, seen{format: format, cell: cell{k.table, id, "v"}, got: typedText(k, value(k.column("v")))})
		}
		if n < arrays {
			all = append(all, seen{format: format, cell: cell{k.table, path + arrayID + n, "a"}, got: typedText(k, value(k.column("a")))})
		}
	}
	return all
}

// TestCorpusThroughKafka: PG-31, P1. What readers get of topics by the schemas that the
// registry has is what the source's server prints.
func TestCorpusThroughKafka(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			e := newEnds(t, major)
			for _, w := range e.wides() {
				pgtest.Exec(t, e.source, w.createSQL(), w.fillSQL(pathSnapshot))
			}
			flows := map[string]*flow{}
			for _, format := range []string{"avro", "protobuf"} {
				flows[format] = e.kafkaFlow(t, format)
				flows[format].run(t)
			}
			for _, w := range e.wides() {
				pgtest.Exec(t, e.source, w.fillSQL(pathStream))
			}
			texts := e.texts(t, e.source, pathStep)
			forms := newForms(t, e, texts)
			for format, f := range flows {
				f.run(t)
				r := newReport(e, e.wideCells(texts), forms)
				r.compare("kafka "+format, e.consumed(t, f, format), pathSnapshot, pathStream)
				r.tell(t, "kafka "+format)
			}
		})
	}
}

func (e *ends) kafkaFlow(t *testing.T, format string) *flow {
	t.Helper()
	f := e.flow(t)
	f.tables.Include = nil
	cfg := registry.Config{URL: connector.Secret(registrytest.Start(t).URL())}
	for _, w := range e.wides() {
		f.tables.Include = append(f.tables.Include, "public."+w.name)
		cfg.AsString = append(cfg.AsString, w.asString()...)
	}
	sink, err := kafka.NewSink(kafka.SinkConfig{Brokers: []string{kafkatest.Start(t).Addr()}, Topic: f.name + ".{table}", TransactionalID: f.name,
		Format: format, SchemaRegistry: &cfg})
	if err != nil {
		t.Fatal(err)
	}
	f.sink = sink
	return f
}

// consumed reads the topics of a pipeline as others do.
func (e *ends) consumed(t *testing.T, f *flow, format string) (all []seen) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := newTypedReader()
	for _, w := range e.wides() {
		c, err := kgo.NewClient(kgo.SeedBrokers(kafkatest.Start(t).Addr()), kgo.ConsumeTopics(f.name+"."+w.name), kgo.DisableClientMetrics(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for left := 2 * w.rows(); left > 0; {
			fetches := c.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				left--
				all = append(all, w.row(t, d, "kafka "+format, r.Value)...)
			})
		}
	}
	return all
}

// row reads a record by the schema that its head names.
func (w *wide) row(t *testing.T, d *typedReader, format string, value []byte) []seen {
	t.Helper()
	if len(value) < 6 || value[0] != 0 {
		t.Fatalf("no schema's id in front of %q", value)
	}
	r := record{data: value[5:], schema: encoding.Schema{Text: schemaOf(t, binary.BigEndian.Uint32(value[1:]))}}
	if format == "kafka avro" {
		row, err := d.avroRow(r)
		if err != nil {
			t.Fatal(err)
		}
		return w.seen(format, int(row["id"].(int32)), func(column string) any { return row[column] })
	}
	r.data = r.data[1:] // the first message of the schema
	m, err := d.protoRow(r)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := protoValue(m, "id").(int32)
	return w.seen(format, int(id), func(column string) any { return protoValue(m, column) })
}

var schemas = map[uint32]string{}

func schemaOf(t *testing.T, id uint32) string {
	t.Helper()
	if schemas[id] != "" {
		return schemas[id]
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(fmt.Sprintf("%s/schemas/ids/%d/schema", registrytest.Start(t).URL(), id))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v", answer.Status, text, err)
	}
	schemas[id] = string(text)
	return schemas[id]
}
