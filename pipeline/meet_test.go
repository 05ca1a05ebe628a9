package pipeline

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// TestHistoryBeginsOnce: changes from before a copy, with the shape that it has,
// begin the history earlier, and not a second time.
func TestHistoryBeginsOnce(t *testing.T) {
	shape := func(name string) *entrain.Table {
		t := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{{Name: name, Type: "int8", Modifier: -1}}}
		t.Version = t.Fingerprint()
		return t
	}
	h := &SchemaHistory{}
	at := func(version uint64) Place { return Place{Incarnation: "i", Version: version} }
	h.meet(shape("a"), at(50), time.Unix(50, 0))
	for _, version := range []uint64{10, 20, 60} {
		if i, fresh := h.meet(shape("a"), at(version), time.Unix(int64(version), 0)); i != 0 || fresh || len(h.Shapes) != 1 {
			t.Fatalf("at %d: shape %d, fresh %v, of %d", version, i, fresh, len(h.Shapes))
		}
	}
	if h.Shapes[0].Begins != at(10) || !h.Shapes[0].Time.Equal(time.Unix(10, 0)) || !h.Shapes[0].Known {
		t.Errorf("the history begins with %+v", h.Shapes[0])
	}
	if i, fresh := h.meet(shape("b"), at(5), time.Unix(5, 0)); i != 0 || !fresh || len(h.Shapes) != 2 {
		t.Errorf("another shape before it: shape %d, fresh %v, of %d", i, fresh, len(h.Shapes))
	}
}
