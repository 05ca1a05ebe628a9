package capture

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSourceConformance: P1 to P5, on every version.
func TestSourceConformance(t *testing.T) {
	eachMajor(t, func(t *testing.T, major int) {
		srv := pgtest.Shared(t, major)
		var url string
		entraintest.TestSource(t, entraintest.SourceHarness{
			New: func(t testing.TB) entrain.Source {
				url = pgtest.CreateDatabase(t, srv)
				pgtest.Exec(t, url, `CREATE TABLE conformance (id bigint PRIMARY KEY, name text, body text, n numeric);
					ALTER TABLE conformance ALTER body SET STORAGE EXTERNAL`)
				src := newTestSource(t, url)
				createSlot(t, src)
				return src
			},
			Commit: func(t testing.TB, events ...entrain.Event) {
				sql := make([]string, len(events))
				for i, e := range events {
					sql[i] = entraintest.SQL(e)
				}
				pgtest.Exec(t, url, strings.Join(sql, ";\n"))
			},
			FragmentRows: 3 * chunkBytes / 1000,
		})
	})
}

// eachMajor runs the test once for each version, beside itself.
func eachMajor(t *testing.T, run func(t *testing.T, major int)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			run(t, major)
		})
	}
}
