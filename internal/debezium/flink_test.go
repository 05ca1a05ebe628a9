package debezium

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// column is one of a table, as both ends have it.
type column struct {
	name, postgres, flink string
	text                  string // SQL that gives what Changelog.java prints; the column's text if empty
}

func (c column) sql() string {
	if c.text == "" {
		return c.name + "::text"
	}
	return strings.ReplaceAll(c.text, "$", c.name)
}

const micros = "(extract(epoch FROM $) * 1000000)::bigint::text"

// common are the columns of orders that no mode of time changes.
var common = []column{
	{"id", "bigint PRIMARY KEY", "BIGINT NOT NULL", ""},
	{"small", "smallint", "SMALLINT", ""},
	{"n", "int", "INT", ""},
	{"amount", "numeric(20,4)", "DECIMAL(20,4)", ""},
	{"free", "numeric", "DECIMAL(38,10)", "$::numeric(38,10)::text"},
	{"price", "float8", "DOUBLE", "encode(float8send($), 'hex')"},
	{"rough", "float4", "FLOAT", "encode(float4send($), 'hex')"},
	{"ok", "boolean", "BOOLEAN", ""},
	{"name", "text", "STRING", ""},
	{"code", "char(5)", "STRING", "rpad($::text, 5)"},
	{"u", "uuid", "STRING", ""},
	{"j", "jsonb", "STRING", ""},
	{"bin", "bytea", "BYTES", "encode($, 'hex')"},
	{"tz", "timestamptz", "TIMESTAMP_LTZ(6)", micros},
	{"tags", "text[]", "ARRAY<STRING>", "array_to_json($)::text"},
	{"nums", "int[]", "ARRAY<INT>", "array_to_json($::text[])::text"},
	{"h", "hstore", "MAP<STRING,STRING>", "CASE WHEN $ IS NOT NULL THEN '{' || coalesce((SELECT string_agg(to_json(key)::text || ':' ||" +
		" coalesce(to_json(value)::text, 'null'), ',' ORDER BY key COLLATE \"C\") FROM each($)), '') || '}' END"},
	{"body", "text", "STRING", ""},
}

// consumed is one way to set up the format, and the types that Flink reads it by.
type consumed struct {
	name    string
	options string
	times   []column
	skipped bool     // whether truncates are left out
	misfits []string // columns of orders with types that Flink cannot read them by
}

var consumers = []consumed{
	{"adaptive", "skipped_operations: t", []column{
		{"d", "date", "INT", "($ - date '1970-01-01')::text"},
		{"t", "time", "BIGINT", micros},
		{"t3", "time(3)", "INT", "(extract(epoch FROM $) * 1000)::int::text"},
		{"ts", "timestamp", "BIGINT", micros},
		{"ts3", "timestamp(3)", "BIGINT", "(extract(epoch FROM $) * 1000)::bigint::text"},
	}, true, []string{"d DATE", "t TIME(6)", "ts TIMESTAMP(6)", "ts3 TIMESTAMP_LTZ(3)"}},
	{"isostring", "time_precision_mode: isostring", []column{
		{"d", "date", "STRING", "to_char($, 'YYYY-MM-DD') || 'Z'"},
		{"t", "time", "STRING", "rtrim(rtrim(to_char($, 'HH24:MI:SS.US'), '0'), '.') || 'Z'"},
		{"t3", "time(3)", "STRING", "rtrim(rtrim(to_char($, 'HH24:MI:SS.US'), '0'), '.') || 'Z'"},
		{"ts", "timestamp", "TIMESTAMP_LTZ(6)", micros},
		{"ts3", "timestamp(3)", "TIMESTAMP_LTZ(3)", micros},
	}, false, []string{"d DATE", "t TIME(6)", "ts TIMESTAMP(6)"}},
}

// TestFlinkReadsOurTopics gives the record values of the topics that the binary
// wrote to Apache Flink's format debezium-json and makes the changelog that
// comes out of it: the rows must be the source's (P1, P3).
func TestFlinkReadsOurTopics(t *testing.T) {
	if os.Getenv("ENTRAIN_TEST_WIDE") != "1" {
		t.Skip("needs a JDK, Kafka's and Flink's libraries: runs with ENTRAIN_TEST_WIDE=1")
	}
	flink, broker, binary := obtainFlink(t), kafkatest.Start(t).Addr(), build(t)
	for _, major := range pgtest.Majors(t) {
		for _, c := range consumers {
			t.Run(fmt.Sprintf("%s, PostgreSQL %d", c.name, major), func(t *testing.T) {
				name := pgtest.Name(t)
				url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
				shop := newShop(c)
				pgtest.Exec(t, url, shop.setup()...)
				file := c.pipelineFile(t, name, url, broker)
				pgtest.Exec(t, url, paragraphs(t, "testdata/flink-existing.sql")...)
				run(t, binary, file)
				pgtest.Exec(t, url, paragraphs(t, "testdata/flink-changes.sql")...)
				run(t, binary, file)
				shop.check(t, url, flink, func(table string) [][]byte { return topicValues(t, broker, name+".public."+table) })
			})
		}
	}
}

// flinkTable is a table of the shop with what Flink is to make of its topic.
type flinkTable struct {
	name    string
	columns []column
	more    []string // of its definition
	check   func(t *testing.T, url string, out changelog, values [][]byte)
}

// shop is the database: its tables, and what Flink is to refuse.
type shop struct {
	tables  []*flinkTable
	misfits []string
}

// newShop makes the tables. Those with the identity FULL are followed in every
// row; the others show what the default identity allows.
func newShop(c consumed) shop {
	id, v := column{"id", "int PRIMARY KEY", "INT", ""}, column{"v", "text", "STRING", ""}
	orders := &flinkTable{name: "orders", columns: append(append([]column{}, common...), c.times...),
		more: []string{"ALTER TABLE orders REPLICA IDENTITY FULL, ALTER body SET STORAGE EXTERNAL"}}
	orders.check = orders.followed("+I", "-U", "+U", "-D")
	notes := &flinkTable{name: "notes", columns: []column{{"a", "int", "INT", ""}, v}, more: []string{"ALTER TABLE notes REPLICA IDENTITY FULL"}}
	notes.check = notes.followed("+I", "-U", "+U", "-D")
	plain := &flinkTable{name: "plain", columns: []column{id, v}}
	plain.check = plain.followedByKey
	changed := &flinkTable{name: "changed", columns: []column{id, v}, check: refused("REPLICA IDENTITY")}
	emptied := &flinkTable{name: "emptied", columns: []column{id, v}, check: refused(`Unknown "op" value "t"`)}
	if c.skipped {
		emptied.check = kept
	}
	return shop{[]*flinkTable{orders, notes, plain, changed, emptied}, c.misfits}
}

// check gives all topics to Flink, those of the tables and, once for each
// misfit, the one of orders.
func (s shop) check(t *testing.T, url string, f flink, topic func(table string) [][]byte) {
	t.Helper()
	var all []reading
	for _, table := range s.tables {
		all = append(all, reading{table.rowType(), topic(table.name)})
	}
	for _, column := range s.misfits {
		all = append(all, reading{"ROW<" + column + ">", all[0].values})
	}
	for i, out := range f.changelogs(t, all) {
		if i < len(s.tables) {
			s.tables[i].check(t, url, out, all[i].values)
		} else if column := s.misfits[i-len(s.tables)]; !strings.Contains(out.refused, "Fail to deserialize at field: ") {
			t.Errorf("Flink reads %s, contrary to the documentation: %q", column, out.refused)
		}
	}
}

func (s shop) setup() []string {
	all := []string{"CREATE EXTENSION hstore"}
	for _, table := range s.tables {
		var columns []string
		for _, c := range table.columns {
			columns = append(columns, c.name+" "+c.postgres)
		}
		all = append(all, fmt.Sprintf("CREATE TABLE %s (%s)", table.name, strings.Join(columns, ", ")))
		all = append(all, table.more...)
	}
	return all
}

// rowType is the table's type in Flink's SQL.
func (ft *flinkTable) rowType() string {
	var fields []string
	for _, c := range ft.columns {
		fields = append(fields, "`"+c.name+"` "+c.flink)
	}
	return "ROW<" + strings.Join(fields, ", ") + ">"
}

// pipelineFile writes the file of a pipeline into Kafka.
func (c consumed) pipelineFile(t *testing.T, name, url, broker string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`name: %s
source: {type: postgres, url: %q, create: true}
sink:
  type: kafka
  brokers: [%q]
  format: debezium
  debezium:
    topic_prefix: %[1]s
    decimal_handling_mode: string
    hstore_handling_mode: map
    message_key_columns: {public.orders: [id]}
    %[4]s
state: {dir: %[5]q}
`, name, pgtest.SourceURL(url), broker, c.options, filepath.Join(dir, "state"))
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// build makes the binary.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "entrain")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/entrainsync/entrain/cmd/entrain")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// run delivers all that the source has now.
func run(t *testing.T, binary, file string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), binary, "run", "--until", "now", file).CombinedOutput(); err != nil {
		t.Fatalf("entrain run: %v\n%s", err, out)
	}
}
