package contract

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// allocated is how much memory f asks for in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestBombs: SE-10. What a hostile row has is judged in place: numbers of a million digits
// exactly, exponents without being written out, nesting of any depth and large texts
// without a copy; and what is told of one is short.
func TestBombs(t *testing.T) {
	const large = 4 << 20
	nines := strings.Repeat("9", 1_000_000)
	shape := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "n", Type: "numeric", Modifier: -1, Kind: entrain.Decimal},
		{Name: "f", Type: "double precision", Modifier: -1, Kind: entrain.Float},
		{Name: "body", Type: "text", Modifier: -1},
	}}
	shape.Version = shape.Fingerprint()
	c := &Contract{Table: "public.orders", Columns: []Column{
		{Name: "n", Type: "numeric", Min: "0", Max: nines},
		{Name: "f", Type: "double precision", Max: "10"},
		{Name: "body", Type: "text", Pattern: `^(\[|"|x)*[^!]*$`, MaxLength: large + 1},
	}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct {
		n, f, body string
		breaks     string
	}{
		"as many digits":        {n: nines, f: "1", body: "x"},
		"a digit more":          {n: nines + "0", f: "1", body: "x", breaks: "n"},
		"a fraction more":       {n: nines + "." + strings.Repeat("0", 1_000_000) + "1", f: "1", body: "x", breaks: "n"},
		"zeros in front":        {n: strings.Repeat("0", 1_000_000) + "7", f: "1", body: "x"},
		"an exponent":           {n: "1", f: "1e999999999", body: "x", breaks: "f"},
		"a very small exponent": {n: "1", f: "1e-999999999", body: "x"},
		"nesting":               {n: "1", f: "1", body: strings.Repeat("[", large)},
		"a text":                {n: "1", f: "1", body: strings.Repeat("x", large)},
		"a text too long":       {n: "1", f: "1", body: strings.Repeat("x", large+2), breaks: "body"},
		"a text that fits not":  {n: "1", f: "1", body: strings.Repeat("x", large) + "!", breaks: "body"},
	} {
		v := New([]*Contract{c}, Options{Level: Stop})
		e := row(shape, entrain.OpInsert, of.n, of.f, of.body)
		v.Judge(row(shape, entrain.OpInsert, "1", "1", "x")) // makes the plan
		var b *Breach
		var told string
		began := time.Now()
		asked := allocated(func() {
			if b = v.Judge(e); b != nil {
				told = b.Value(e)
			}
		})
		t.Logf("%s: %s, %d bytes", name, time.Since(began), asked)
		if broken := b != nil; broken != (of.breaks != "") || broken && b.Column != of.breaks {
			t.Errorf("%s: breach %+v, want of %q", name, b, of.breaks)
		}
		if asked > 1<<20 || len(told) > 1000 {
			t.Errorf("%s: judging asked for %d bytes, %d are told", name, asked, len(told))
		}
	}
}
