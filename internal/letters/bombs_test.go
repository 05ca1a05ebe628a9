package letters

import (
	"runtime"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestBombs: SE-10. What a dead letter's body was made to be by hand, or by whoever else
// writes where letters are kept, is an error, and the memory that it asks for in all grows
// with its size only.
func TestBombs(t *testing.T) {
	const million = 1_000_000
	shape := `"tables":[{"schema":"public","table":"t","columns":[{"Name":"n","Type":"numeric","Modifier":-1,"Kind":2}]}]`
	event := func(value string) string {
		return `{"v":1,"event":{"v":1,"id":"s/i/1/0","op":"insert","table":"public.t","after":{"n":` + value + `}},` + shape + `}`
	}
	for name, text := range map[string]string{
		"nesting":            strings.Repeat("[", million),
		"nesting in a value": event(strings.Repeat(`{"a":`, million) + "1" + strings.Repeat("}", million)),
		"nested and open":    event(strings.Repeat("[", million)),
		"digits":             event(strings.Repeat("9", million)),
		"an exponent":        event("1e999999999"),
		"many tables":        `{"v":1,"event":{},"tables":[` + strings.TrimSuffix(strings.Repeat(`{},`, million/10), ",") + `]}`,
		"a form of digits":   `{"v":` + strings.Repeat("9", million) + `}`,
	} {
		kept := &entrain.DeadLetter{ID: "s/i/1/0", Body: []byte(text)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(kept)
		_, viewErr := View(kept)
		runtime.ReadMemStats(&after)
		asked := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d bytes ask for %d; %.80v; %.80v", name, len(text), asked, err, viewErr)
		if err == nil {
			t.Errorf("%s is an event", name)
		}
		if asked > uint64(400*len(text)) {
			t.Errorf("%s: %d bytes asked for %d", name, len(text), asked)
		}
	}
}
