package corpus

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
)

func TestMain(m *testing.M) { pgtest.Main(m, kafkatest.Remove, registrytest.Remove) }

// debeziumText are the settings of the format that differ most from the default.
var debeziumText = encoding.DebeziumOptions{
	DecimalHandlingMode: "string", TimePrecisionMode: "isostring", IntervalHandlingMode: "string",
	BinaryHandlingMode: "hex", HstoreHandlingMode: "map", IncludeUnknownDatatypes: true,
}

// majors are the versions that the corpus is carried on: one, but for the wide run.
func majors(t *testing.T) []int {
	all := pgtest.Majors(t)
	if os.Getenv("ENTRAIN_TEST_WIDE") == "" {
		return all[:1]
	}
	return all
}

// output is what a pipeline has written in a format, and who reads it.
type output struct {
	format  string
	records func() []record
	read    reader
}

// TestCorpus: PG-31, P1. Every value of every type comes to every sink and in every format
// as the source's server prints it, or in the form that the documents tell.
func TestCorpus(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { carry(t, newEnds(t, major)) })
	}
}

func carry(t *testing.T, e *ends) {
	into, err := postgres.NewSink(postgres.SinkConfig{URL: connector.Secret(pgtest.TargetURL(e.target)), Pipeline: pgtest.Name(t)})
	if err != nil {
		t.Fatal(err)
	}
	table := e.flow(t)
	table.sink = into
	flows, outputs := e.outputs(t)
	flows = append(flows, table)
	for _, f := range flows {
		f.run(t)
	}
	e.change(t)
	for _, f := range flows {
		f.run(t)
	}
	e.trickle(t, table)
	texts := e.texts(t, e.source, pathStep)
	forms := newForms(t, e, texts)
	r := newReport(e, texts, forms)
	r.compare("postgres", e.rows(t), pathSnapshot, pathStream, pathUpdate, pathTip)
	r.tell(t, "postgres")
	for _, o := range outputs {
		r := newReport(e, texts, forms)
		records := o.records()
		r.compare(o.format, r.seen(o, records), pathSnapshot, pathStream, pathUpdate)
		r.tell(t, o.format)
		for _, p := range plantedCases {
			if p.format == o.format {
				r := newReport(e, texts, forms)
				table := p.cell(t, e).table
				r.only(table)
				p.plant(t, r, o, o.of(table, e, records))
			}
		}
	}
	plantAtTarget(t, newReport(e, texts, forms))
	if !t.Failed() {
		t.Logf("%d wrong conversions were planted, and each was reported with type, value, format and path", len(plantedCases)+1)
	}
}

// of are the records of a table.
func (o *output) of(table string, e *ends, records []record) (some []record) {
	for _, r := range records {
		if r.table != nil && r.table.Name == table || r.table == nil && bytes.Contains(r.data, []byte(`"`+table+`"`)) {
			some = append(some, r)
		}
	}
	return some
}

// outputs makes the pipelines into files, and one into the formats with schemas.
func (e *ends) outputs(t *testing.T) (flows []*flow, all []output) {
	for _, o := range []struct {
		format string
		read   reader
		cfg    file.SinkConfig
	}{
		{"native", readNative, file.SinkConfig{}},
		{"flat", readFlat, file.SinkConfig{Format: "flat"}},
		{"cloudevents", readCloud, file.SinkConfig{Format: "cloudevents"}},
		{inDebezium[0], readDebezium, file.SinkConfig{Format: "debezium"}},
		{inDebezium[1], readDebezium, file.SinkConfig{Format: "debezium", Debezium: &debeziumText}},
	} {
		f, records := e.fileFlow(t, o.cfg)
		flows, all = append(flows, f), append(all, output{o.format, records, o.read})
	}
	f, sink, d := e.flow(t), newTypedSink(t), newTypedReader()
	f.sink = sink
	for format, read := range map[string]reader{"avro": d.readAvro, "protobuf": d.readProto} {
		all = append(all, output{format, func() []record { return sink.records[format] }, read})
	}
	return append(flows, f), all
}

// rows are what the target's server prints.
func (e *ends) rows(t *testing.T) (all []seen) {
	for c, text := range e.texts(t, e.target, len(paths)*pathStep) {
		s := seen{format: "postgres", cell: c, got: null}
		if text != nil {
			s.got = *text
		}
		all = append(all, s)
	}
	return all
}

// seen reads all records of an output.
func (r *report) seen(o output, records []record) (all []seen) {
	for _, rec := range records {
		some, err := o.read(r.ends, o.format, rec)
		if err != nil {
			r.complain("%s: a record cannot be read: %v: %.200q", o.format, err, rec.data)
		}
		all = append(all, some...)
	}
	return all
}

var _ entrain.Sink = (*typedSink)(nil)
