package capture

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
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

const ddlLeft = `SELECT (SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'entrain\_%')
	+ (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('entrain'))`

// TestTeardownOfTellers: what the script for exact DDL made goes if nobody else may
// need it and the role may; else it stays, and the SQL that is said takes it away.
func TestTeardownOfTellers(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		var said bytes.Buffer
		src := newTestSource(t, url)
		cfg := src.cfg
		cfg.Log = slog.New(slog.NewJSONHandler(&said, nil))
		src = mustSource(t, cfg)
		pgtest.Exec(t, url, oneTable, ddlScript)
		removals, err := src.Teardown(t.Context())
		if err != nil || len(removals) != 1 || !strings.Contains(removals[0].What, "event triggers") {
			t.Fatalf("removals %+v, %v", removals, err)
		}
		for range 2 {
			if err := removals[0].Do(t.Context()); err != nil {
				t.Error(err)
			}
		}
		tellersGone(t, url)
		pgtest.Exec(t, url, ddlScript, removals[0].SQL)
		tellersGone(t, url)

		pgtest.Exec(t, url, ddlScript, `SELECT pg_create_logical_replication_slot('other_reader', 'pgoutput')`)
		tellersStay(t, url, src, &said)
		pgtest.Exec(t, url, `SELECT pg_drop_replication_slot('other_reader')`, ddlScript)
		role := pgtest.Name(t) + "_small"
		pgtest.Exec(t, url, `CREATE ROLE `+role+` LOGIN REPLICATION`)
		defer pgtest.Exec(t, url, `DROP ROLE `+role)
		cfg.URL = connector.Secret(strings.Replace(url, "postgres@", role+"@", 1))
		tellersStay(t, url, mustSource(t, cfg), &said)
		pgtest.Exec(t, url, `CREATE FUNCTION entrain.mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'`,
			`CREATE EVENT TRIGGER entrain_ddl ON ddl_command_end EXECUTE FUNCTION entrain.mine()`)
		if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("somebody else's trigger of that name: %+v, %v", got, err)
		}
	})
}

func tellersGone(t *testing.T, url string) {
	t.Helper()
	if n := pgtest.QueryOne(t, url, ddlLeft); n != "0" {
		t.Errorf("%s things are left", n)
	}
}

// tellersStay checks that nothing is listed, and executes what the log says.
func tellersStay(t *testing.T, url string, src *Source, said *bytes.Buffer) {
	t.Helper()
	said.Reset()
	if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("listed: %+v, %v", got, err)
	}
	var line struct {
		SQL string `json:"drop them by"`
	}
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || line.SQL == "" {
		t.Fatalf("said %q, %v", said.String(), err)
	}
	pgtest.Exec(t, url, line.SQL)
	tellersGone(t, url)
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
