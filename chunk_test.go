package entrain

import "testing"

// TestViewContains holds the rule of a snapshot's visibility against its parts,
// also where the 32-bit ids wrap around.
func TestViewContains(t *testing.T) {
	const epoch = 3 << 32
	for _, c := range []struct {
		name string
		view View
		id   uint64
		want bool
	}{
		{"ended before", View{Min: 100, Max: 110, Open: []uint64{100, 105}}, 99, true},
		{"open", View{Min: 100, Max: 110, Open: []uint64{100, 105}}, 105, false},
		{"ended between", View{Min: 100, Max: 110, Open: []uint64{100, 105}}, 104, true},
		{"not begun", View{Min: 100, Max: 110, Open: []uint64{100}}, 110, false},
		{"far ahead", View{Min: 100, Max: 110}, 2000, false},
		{"of this epoch", View{Min: epoch + 5, Max: epoch + 9}, 4, true},
		{"of the epoch before", View{Min: epoch - 2, Max: epoch + 9, Open: []uint64{epoch - 2}}, 1<<32 - 2, false},
		{"of the epoch before, ended", View{Min: epoch + 3, Max: epoch + 9}, 1<<32 - 7, true},
		{"of the next epoch", View{Min: epoch - 9, Max: epoch - 4}, 3, false},
	} {
		if got := c.view.Contains(c.id); got != c.want {
			t.Errorf("%s: %+v contains %d: %v, expected %v", c.name, c.view, c.id, got, c.want)
		}
	}
}
