package debezium

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m, kafkatest.Remove) }

var update = flag.Bool("update", false, "record the engine's output anew; needs java and mvn")

const (
	publication = "pub"
	prefix      = "shop"
)

// variant is one way to configure both sides.
type variant struct {
	name       string
	properties []string // of the engine
	options    encoding.DebeziumOptions
}

// full names the key that the log does not tell.
var full = map[string][]string{"public.full_keyed": {"id"}, "public.big": {"id"}}

var variants = []variant{
	{"default", nil, encoding.DebeziumOptions{}},
	{"transactions", []string{"provide.transaction.metadata=true", "tombstones.on.delete=false"},
		encoding.DebeziumOptions{ProvideTransactionMetadata: true, OmitTombstones: true}},
	{"text", []string{
		"decimal.handling.mode=string", "time.precision.mode=isostring", "interval.handling.mode=string",
		"binary.handling.mode=hex", "hstore.handling.mode=map", "include.unknown.datatypes=true",
	}, encoding.DebeziumOptions{
		DecimalHandlingMode: "string", TimePrecisionMode: "isostring", IntervalHandlingMode: "string",
		BinaryHandlingMode: "hex", HstoreHandlingMode: "map", IncludeUnknownDatatypes: true,
	}},
	{"connect", []string{
		"decimal.handling.mode=double", "time.precision.mode=connect", "binary.handling.mode=base64",
	}, encoding.DebeziumOptions{
		DecimalHandlingMode: "double", TimePrecisionMode: "connect", BinaryHandlingMode: "base64",
	}},
	{"adaptive-time", []string{
		"time.precision.mode=adaptive_time_microseconds", "binary.handling.mode=base64-url-safe",
	}, encoding.DebeziumOptions{
		TimePrecisionMode: "adaptive_time_microseconds", BinaryHandlingMode: "base64-url-safe",
	}},
	{"microseconds", []string{"time.precision.mode=microseconds", "include.unknown.datatypes=true"},
		encoding.DebeziumOptions{TimePrecisionMode: "microseconds", IncludeUnknownDatatypes: true}},
	{"nanoseconds", []string{"time.precision.mode=nanoseconds", "unavailable.value.placeholder=nope"},
		encoding.DebeziumOptions{TimePrecisionMode: "nanoseconds", UnavailableValuePlaceholder: "nope"}},
}

// TestAgainstRecording compares our records with those that the real Debezium
// made of the same statements, field by field. What depends on the server's
// state, as LSNs, is compared by type and relation (P1, P3: no record is
// missing, and their order is the same).
func TestAgainstRecording(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			t.Parallel()
			url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
			ours := capture(t, url, startHistory(t, url))
			c := comparison{seen: make(map[string]bool)}
			for _, v := range variants {
				recorded, err := os.ReadFile(recording(v))
				if err != nil {
					t.Fatal(err)
				}
				c.variant = v.name
				c.compare(t, parse(t, recorded), parse(t, encode(t, ours, v)))
			}
			c.checkAllSeen(t)
		})
	}
}

// TestAgainstEngine is the same with the engine itself reading the same log, so
// that transaction ids, times and the database's name must be equal, too. With
// -update it also records what the engine made.
func TestAgainstEngine(t *testing.T) {
	if os.Getenv("ENTRAIN_TEST_WIDE") != "1" && !*update {
		t.Skip("needs java and mvn: runs with ENTRAIN_TEST_WIDE=1")
	}
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
			h := startHistory(t, url)
			ours := capture(t, url, h)
			c := comparison{live: true, seen: make(map[string]bool)}
			for name, text := range runEngine(t, url, h.slot, variants) {
				i := indexOf(t, name)
				records := withoutEmpty(parse(t, withoutEnd(text)))
				c.variant = name
				c.compare(t, records, parse(t, encode(t, ours, variants[i])))
				if *update && major == pgtest.Majors(t)[0] {
					write(t, recording(variants[i]), records)
				}
			}
			c.checkAllSeen(t)
		})
	}
}

func recording(v variant) string { return filepath.Join("testdata", v.name+".jsonl") }

func indexOf(t *testing.T, name string) int {
	t.Helper()
	for i, v := range variants {
		if v.name == name {
			return i
		}
	}
	t.Fatalf("no variant is called %q", name)
	return 0
}

// withoutEnd drops what transaction records there are of the message that ends
// a recording.
func withoutEnd(text []byte) []byte {
	last := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	if !bytes.Contains(text[last:], []byte(`{"topic":"`+prefix+`.transaction"`)) {
		return text
	}
	begin := bytes.LastIndex(text, []byte(`"status":"BEGIN"`))
	return text[:bytes.LastIndexByte(text[:begin], '\n')+1]
}

// withoutEmpty drops BEGIN and END of transactions without a change, which
// PostgreSQL 14 sends. We write none for them.
func withoutEmpty(all []record) []record {
	var kept []record
	for _, r := range all {
		value, _ := r["value"].(map[string]any)
		if value["status"] == "END" && value["event_count"] == json.Number("0") {
			kept = kept[:len(kept)-1]
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// record is one message for a topic, as JSON has it.
type record map[string]any

// parse reads a record a line, with long values shortened.
func parse(t *testing.T, text []byte) []record {
	t.Helper()
	var records []record
	for line := range bytes.Lines(text) {
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.UseNumber()
		var r record
		if err := dec.Decode(&r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for name := range r {
			r[name] = shorten(r[name])
		}
		r["headers"] = ownHeaders(r["headers"])
		records = append(records, r)
	}
	return records
}

// ownHeaders returns the headers without those of the engine's process.
func ownHeaders(v any) map[string]any {
	all, _ := v.(map[string]any)
	own := make(map[string]any)
	for name, value := range all {
		if !strings.HasPrefix(name, "__debezium.context.") {
			own[name] = value
		}
	}
	return own
}

func write(t *testing.T, file string, records []record) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
