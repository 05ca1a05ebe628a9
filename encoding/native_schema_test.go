package encoding

import (
	"encoding/json"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestSchemaLines: the native format writes a changed shape in full, the others
// do not have it.
func TestSchemaLines(t *testing.T) {
	before := &entrain.Table{Schema: "public", Name: "t", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Key: true}, {Name: "a", Type: "text", Modifier: -1}}}
	after := &entrain.Table{Schema: "public", Name: "t", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Key: true}, {Name: `b"`, Type: "varchar", Modifier: 9}, {Name: "c", Type: "bool", Modifier: -1, Key: true}}}
	before.Version, after.Version = 1, 2
	fill := "f"
	c := entrain.CompareTables(before, after, nil, []entrain.ColumnFacts{{Name: "c", NotNull: true, Default: "false", Constant: true, Fill: &fill}})
	c.DDL, c.Resync = []entrain.DDL{{Tag: "ALTER TABLE", Object: "public.t", Schema: "public", Table: "t", ID: 16384}}, "why"
	e := entrain.Event{Op: entrain.OpSchema, Ordinal: entrain.SchemaOrdinal(3, 0), Table: after, Tx: tx(5), Schema: c}
	line, err := NewNative().Append(nil, &e)
	const want = `{"v":1,"id":"shop/7-1/5/9223372036854775811","op":"schema","schema":"public","table":"t","schema_version":"0000000000000002",` +
		`"before":{"schema":"public","table":"t","fingerprint":"0000000000000001","full_identity":false,"columns":[{"name":"id","type":"int8","modifier":-1,"key":true,"kind":"text"},{"name":"a","type":"text","modifier":-1,"key":false,"kind":"text"}]},` +
		`"after":{"schema":"public","table":"t","fingerprint":"0000000000000002","full_identity":false,"columns":[{"name":"id","type":"int8","modifier":-1,"key":true,"kind":"text"},{"name":"b\"","type":"varchar","modifier":9,"key":false,"kind":"text"},{"name":"c","type":"bool","modifier":-1,"key":true,"kind":"text"}]},` +
		`"changes":[{"kind":"rename","before":"a","after":"b\"","guessed":true},{"kind":"retype","before":"a","after":"b\""},{"kind":"add","after":"c","not_null":true,"default":"false","fill":"f","facts":{"id":0,"name":"c","default":"false","constant":true,"not_null":true,"fill":"f"}},{"kind":"identity"}],` +
		`"ddl":[{"tag":"ALTER TABLE","object":"public.t","schema":"public","table":"t","oid":16384}],"resync":"why","tx":{"id":743,"version":"5","time":"2026-11-22T20:00:00.123456Z"}}` + "\n"
	if err != nil || string(line) != want || !json.Valid(line) {
		t.Errorf("%v\ngot  %s\nwant %s", err, line, want)
	}
	for _, format := range []string{"flat", "debezium"} {
		enc, err := New(format, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if line, err := enc.Append(nil, &e); err != nil || len(line) > 0 {
			t.Errorf("%s: %s, %v", format, line, err)
		}
	}
}
