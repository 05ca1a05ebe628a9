package capture

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSourceTeardown: what the source left at its server is listed with SQL that does
// the same by hand, removed in order, and removing it twice is no error.
func TestSourceTeardown(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("before anything was made: %v, %v", got, err)
		}
		createSlot(t, src)
		removals, err := src.Teardown(t.Context())
		if err != nil || len(removals) != 2 || !strings.Contains(removals[0].What, src.cfg.Slot) || !strings.Contains(removals[1].What, `"pub"`) {
			t.Fatalf("removals %+v, %v", removals, err)
		}
		for range 2 {
			for _, r := range removals {
				if err := r.Do(t.Context()); err != nil {
					t.Errorf("%s: %v", r.What, err)
				}
			}
		}
		if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("after all was removed: %v, %v", got, err)
		}
		createSlot(t, src)
		notOurs(t, url, src.cfg)
	})
}

// notOurs checks that what was not made here is not listed, and that the log
// has the SQL that drops the slot.
func notOurs(t *testing.T, url string, cfg Config) {
	t.Helper()
	var said bytes.Buffer
	cfg.Create, cfg.Log = false, slog.New(slog.NewJSONHandler(&said, nil))
	src := mustSource(t, cfg)
	if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("not made here, but listed: %+v, %v", got, err)
	}
	var line struct {
		Msg string
		SQL string `json:"drop it by"`
	}
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || !strings.Contains(line.Msg, "not made by entrain") {
		t.Fatalf("said %q, %v", said.String(), err)
	}
	pgtest.Exec(t, url, line.SQL)
	if n := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+cfg.Slot+"'"); n != "0" {
		t.Errorf("%s left the slot", line.SQL)
	}
	said.Reset()
	if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 || said.Len() != 0 {
		t.Errorf("without a slot: %+v, %v, said %s", got, err, said.String())
	}
}
