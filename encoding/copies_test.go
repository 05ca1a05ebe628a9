package encoding

import (
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
)

// TestCopiesLookAlike: what only sinks with tables have to know of a copy, that an event
// settles or is meant for a double, changes no byte that goes out.
func TestCopiesLookAlike(t *testing.T) { synctest.Test(t, copiesLookAlike) } // one time for all

func copiesLookAlike(t *testing.T) {
	table := orders()
	double := *table
	double.Shadow = true
	all := append(events(),
		entrain.Event{Op: entrain.OpRead, Table: table, Tx: tx(7), After: row("1", "1.50", "0.1", "t", "a", "{}")},
		entrain.Event{Op: entrain.OpReadEnd, Table: table, Tx: tx(7)})
	for _, format := range []string{"native", "debezium", "flat", "cloudevents"} {
		plain, copied := encoder(t, format), encoder(t, format)
		for _, e := range all {
			if e.Table != nil {
				e.Table = table
			}
			want, wantErr := plain.Append(nil, &e)
			e.Settling = true
			if e.Table != nil {
				e.Table = &double
			}
			if e.Op == entrain.OpTruncate {
				e.Truncate = &entrain.Truncate{Tables: []*entrain.Table{&double, &double}, Cascade: true}
			}
			got, err := copied.Append(nil, &e)
			if string(got) != string(want) || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: %s\ngot  %s, %v\nwant %s, %v", format, e.Op, got, err, want, wantErr)
			}
		}
	}
}

func encoder(t *testing.T, format string) Encoder {
	t.Helper()
	enc, err := New(format, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return enc
}
