package layout

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
	"github.com/entrainsync/entrain/encoding"
)

func table() *entrain.Table {
	kinds := []entrain.Kind{
		entrain.Integer, entrain.Integer, entrain.Text, entrain.Text, entrain.Boolean,
		entrain.Decimal, entrain.Text, entrain.Text, entrain.Float, entrain.Text,
	}
	t := &entrain.Table{Schema: "public", Name: "orders"}
	for i, k := range kinds {
		t.Columns = append(t.Columns, entrain.Column{Name: "column" + string(rune('a'+i)), Kind: k, Key: i == 0})
	}
	t.Version = t.Fingerprint()
	return t
}

// BenchmarkDecodeEncode is the product's own path: pgoutput bytes to row to
// native JSON. It must not allocate.
func BenchmarkDecodeEncode(b *testing.B) {
	msg := insertMessage()
	tab := table()
	tx := &entrain.Transaction{
		Stream: &entrain.Stream{Source: "shop", Incarnation: "7"},
		ID:     743, Version: 24_094_528, CommitTime: time.Unix(1_800_000_000, 0),
	}
	enc := encoding.NewNative()
	var batch packedBatch
	var m pgoutput.Message
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		batch.reset()
		out = out[:0]
		for range rows {
			if err := batch.decode(msg, &m); err != nil {
				b.Fatal(err)
			}
		}
		for i, row := range batch.rows {
			e := entrain.Event{Op: entrain.OpInsert, Ordinal: uint64(i), Table: tab, Tx: tx, After: row}
			var err error
			if out, err = enc.Append(out, &e); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b)
}
