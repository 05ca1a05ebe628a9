package layout

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
)

// rows per batch: enough to leave the first-level cache, as real batches do.
const rows = 4096

var texts = []string{
	"1048576", "42", "a customer's name", "2026-11-22 20:00:00.123456+00", "f",
	"1999.95", strings.Repeat("payload ", 12), "", "0.1", "open",
}

// insertMessage is an Insert of ten columns, the eighth NULL.
func insertMessage() []byte {
	msg := []byte{'I', 0, 0, 0x40, 1, 'N', 0, byte(len(texts))}
	for i, text := range texts {
		if i == 7 {
			msg = append(msg, 'n')
			continue
		}
		msg = append(msg, 't')
		msg = binary.BigEndian.AppendUint32(msg, uint32(len(text)))
		msg = append(msg, text...)
	}
	return msg
}

// value is the alternative: one struct a column, 32 bytes with a pointer.
type value struct {
	data  []byte
	state entrain.State
}

type valueBatch struct {
	buf    []byte
	values []value
	rows   [][]value
}

func (b *valueBatch) decode(msg []byte) {
	n := int(binary.BigEndian.Uint16(msg[6:]))
	data := msg[8:]
	start := len(b.values)
	for range n {
		kind := data[0]
		data = data[1:]
		if kind != 't' {
			b.values = append(b.values, value{state: entrain.Null})
			continue
		}
		size := binary.BigEndian.Uint32(data)
		at := len(b.buf)
		b.buf = append(b.buf, data[4:4+size]...)
		b.values = append(b.values, value{data: b.buf[at:len(b.buf):len(b.buf)]})
		data = data[4+size:]
	}
	b.rows = append(b.rows, b.values[start:len(b.values):len(b.values)])
}

func (b *valueBatch) reset() { b.buf, b.values, b.rows = b.buf[:0], b.values[:0], b.rows[:0] }

type packedBatch struct {
	buf  []byte
	rows []entrain.Row
}

func (b *packedBatch) decode(msg []byte, m *pgoutput.Message) error {
	if err := pgoutput.Parse(msg, m); err != nil {
		return err
	}
	var row entrain.Row
	row, b.buf = m.New.AppendRow(b.buf, nil)
	b.rows = append(b.rows, row)
	return nil
}

func (b *packedBatch) reset() { b.buf, b.rows = b.buf[:0], b.rows[:0] }

// copyText appends one value as COPY's text format has it.
func copyText(dst []byte, v []byte) []byte {
	start := 0
	for i, c := range v {
		if c != '\\' && c != '\n' && c != '\r' && c != '\t' {
			continue
		}
		dst = append(append(dst, v[start:i]...), '\\', c)
		start = i + 1
	}
	return append(append(dst, v[start:]...), '\t')
}

func copyValues(out []byte, row []value) []byte {
	for _, v := range row {
		if v.state == entrain.Present {
			out = copyText(out, v.data)
		}
	}
	return out
}

func copyRow(out []byte, row entrain.Row) []byte {
	for i := range len(texts) {
		if v, state := row.Column(i, len(texts)); state == entrain.Present {
			out = copyText(out, v)
		}
	}
	return out
}

func report(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

func BenchmarkValueStructs(b *testing.B) {
	msg := insertMessage()
	var batch valueBatch
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		batch.reset()
		for range rows {
			batch.decode(msg)
		}
		out = out[:0]
		for _, row := range batch.rows {
			out = copyValues(out, row)
		}
	}
	report(b)
}

func BenchmarkPackedRows(b *testing.B) {
	msg := insertMessage()
	var batch packedBatch
	var m pgoutput.Message
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		batch.reset()
		for range rows {
			if err := batch.decode(msg, &m); err != nil {
				b.Fatal(err)
			}
		}
		out = out[:0]
		for _, row := range batch.rows {
			out = copyRow(out, row)
		}
	}
	report(b)
}
