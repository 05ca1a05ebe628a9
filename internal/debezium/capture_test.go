package debezium

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// theEnd is the prefix of the message at which the engine's program ends. It is
// not compared.
const theEnd = "the-end"

// history is a run of testdata/changes.sql between two slots' starts and now.
type history struct {
	slot string // for the engine
	from entrain.Position
}

// startHistory makes the tables and slots and then the changes.
func startHistory(t *testing.T, url string) history {
	t.Helper()
	pgtest.Exec(t, url, paragraphs(t, "testdata/setup.sql")...)
	h := history{slot: pgtest.Name(t)}
	pgtest.Exec(t, url, "CREATE PUBLICATION "+publication+" FOR ALL TABLES",
		"SELECT pg_create_logical_replication_slot('"+h.slot+"', 'pgoutput')")
	r, err := newSource(t, url).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, err := r.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.from = first.Through
	pgtest.Exec(t, url, append(paragraphs(t, "testdata/changes.sql"),
		"SELECT pg_logical_emit_message(true, '"+theEnd+"', '')")...)
	return h
}

func newSource(t *testing.T, url string) *postgres.Source {
	t.Helper()
	src, err := postgres.NewSource(postgres.SourceConfig{
		URL: connector.Secret(pgtest.SourceURL(url)), Slot: "ours_" + pgtest.QueryOne(t, url, "SELECT current_database()"),
		Publication: publication, Create: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// capture returns the changes as our source delivers them. Its batches are not
// freed, since each variant encodes them again.
func capture(t *testing.T, url string, h history) []*entrain.Batch {
	t.Helper()
	src, err := newSource(t, url).Until("now")
	if err != nil {
		t.Fatal(err)
	}
	r, err := src.Open(t.Context(), h.from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []*entrain.Batch
	for {
		b, err := r.Read(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
}

// encode returns the lines that a sink would write.
func encode(t *testing.T, all []*entrain.Batch, v variant) []byte {
	t.Helper()
	o := v.options
	o.TopicPrefix, o.MessageKeyColumns = prefix, full
	enc, err := encoding.NewDebezium(o)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, b := range all {
		for i := range b.Events {
			if m := b.Events[i].Message; m != nil && m.Prefix == theEnd {
				continue
			}
			if out, err = enc.Append(out, &b.Events[i]); err != nil {
				t.Fatal(err)
			}
		}
		if !b.Through.IsZero() {
			out = enc.AppendEnd(out)
		}
	}
	return out
}

// paragraphs cuts a script at its empty lines: each part is a transaction.
func paragraphs(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n\n")
}
