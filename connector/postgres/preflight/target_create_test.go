package preflight

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestExtension: who may make an extension, and where nobody can.
func TestExtension(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts targetFacts
		x     extension
		why   string
		steps int
	}{
		{"there", targetFacts{}, extension{there: true}, "", 0},
		{"trusted", targetFacts{server: server{mayCreate: true}}, extension{available: true}, "", 0},
		{"superuser", targetFacts{server: server{superuser: true}}, extension{available: true, guarded: true}, "", 0},
		{"guarded", targetFacts{server: server{mayCreate: true}}, extension{available: true, guarded: true}, "may not make it", 3},
		{"no right", targetFacts{schemas: map[string]bool{"ext": true}}, extension{available: true}, "may not make it", 2},
		{"no right, a schema of its own", targetFacts{schemas: map[string]bool{"ext": true}, roomy: map[string]bool{"ext": true}},
			extension{available: true}, "may not make it", 1},
		{"no package", targetFacts{server: server{superuser: true}}, extension{}, "install its package", 0},
	} {
		c.x.Extension, c.x.tables = entrain.Extension{Schema: "ext", Name: "hstore"}, []string{"public.a"}
		found := c.facts.judgeExtension(c.x)
		if c.why == "" {
			if len(found) > 0 {
				t.Errorf("%s: found %+v", c.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Object != `extension "hstore"` || !strings.Contains(found[0].Why, c.why) || len(found[0].Fix) != c.steps {
			t.Errorf("%s: found %+v, want %q and %d steps", c.name, found, c.why, c.steps)
		}
	}
}
