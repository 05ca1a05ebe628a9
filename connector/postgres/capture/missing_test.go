package capture

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

var _ entrain.TableFinder = (*Source)(nil)

// What the configuration takes and our publication lacks is found, under the
// tables' plain names; of a publication that is somebody else's nothing is.
func TestMissingTables(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE old (id int PRIMARY KEY)")
		cfg := sourceConfig(t, url)
		cfg.Create = true
		cfg.Tables.Exclude = []string{"*.log"}
		src := mustSource(t, cfg)
		expectStopMissing(t, src, "publication_missing")
		createSlot(t, src)
		wantMissing(t, src)
		pgtest.Exec(t, url, `CREATE SCHEMA "s.x"`, `CREATE TABLE "s.x"."odd ""name" (id int PRIMARY KEY)`, "CREATE TABLE log (id int PRIMARY KEY)",
			"CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)",
			"CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9)")
		wantMissing(t, src, entrain.TableName{Schema: "public", Name: "parts"}, entrain.TableName{Schema: "s.x", Name: `odd "name`})

		theirs := cfg
		theirs.Create = false
		wantMissing(t, mustSource(t, theirs))
		theirs.Create, theirs.Publications = true, []string{cfg.Publication}
		wantMissing(t, mustSource(t, theirs))
	})
}

func wantMissing(t *testing.T, src *Source, want ...entrain.TableName) {
	t.Helper()
	got, err := src.MissingTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func expectStopMissing(t *testing.T, src *Source, code string) {
	t.Helper()
	_, err := src.MissingTables(t.Context())
	expectStop(t, err, code)
}
