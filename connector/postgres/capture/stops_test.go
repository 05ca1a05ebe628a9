package capture

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// The tests below provoke each named stop on real servers and follow what it
// says to do next (P5).

const oneTable = `CREATE TABLE t (id int PRIMARY KEY, v text)`

// startOver does what the stops say about a broken history: the SQL, if any,
// then a start from the slot that is made anew.
func startOver(t *testing.T, src *Source, url string, stop *entrain.Stop) {
	t.Helper()
	if sql := nextSQL(stop); strings.HasPrefix(sql, "SELECT") {
		pgtest.Exec(t, url, sql)
	}
	from := createSlot(t, src)
	pgtest.Exec(t, url, "INSERT INTO t VALUES (4711, 'after the stop')")
	if got := captureNow(t, src, from); len(got.lines) != 1 || !strings.Contains(got.lines[0], "after the stop") {
		t.Errorf("after starting over: %q", got.lines)
	}
}

// progress makes the source's slot, one change, and a position behind it that
// the server knows of.
func progress(t *testing.T, src *Source, url string) entrain.Position {
	t.Helper()
	from := createSlot(t, src)
	pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'one')")
	r := openReader(t, src, from)
	got := captureLines(t, r, 1)
	if err := r.Ack(t.Context(), got.last(t)); err != nil {
		t.Fatal(err)
	}
	closeReader(t, r)
	return got.last(t)
}

func TestStopSlotMissing(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		pgtest.Exec(t, url, dropSlot(src.cfg.Slot))
		stop := expectStop(t, openError(t, src, at), "slot_missing")
		if !strings.Contains(stop.What, src.cfg.Slot) || !strings.Contains(stop.Next, "entrain run FILE") {
			t.Errorf("stop %+v", stop)
		}
		startOver(t, src, url, stop)
	})
}

func TestStopSlotRecreated(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		pgtest.Exec(t, url, dropSlot(src.cfg.Slot), "INSERT INTO t VALUES (2, 'lost')",
			fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", src.cfg.Slot))
		stop := expectStop(t, openError(t, src, at), "slot_ahead")
		if !strings.HasPrefix(nextSQL(stop), "SELECT pg_drop_replication_slot(") {
			t.Errorf("next: %s", stop.Next)
		}
		startOver(t, src, url, stop)
	})
}

func TestStopSlotForeign(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		pgtest.Exec(t, url, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'test_decoding')", src.cfg.Slot))
		stop := expectStop(t, openError(t, src, entrain.Position{}), "slot_foreign")
		if !strings.Contains(stop.What, "test_decoding") {
			t.Errorf("stop %+v", stop)
		}
		cfg := src.cfg
		cfg.Slot += "_2"
		startOver(t, mustSource(t, cfg), url, stop)
	})
}

func TestStopPositionPastTheEnd(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		at.Offset = "7FFFFFFF/0@1"
		startOver(t, src, url, expectStop(t, openError(t, src, at), "position_ahead"))
	})
}

func TestStopPositionUnreadable(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		at.Offset = "mysql-bin.000001:4"
		expectStop(t, openError(t, src, at), "position_unreadable")
	})
}

// TestStopOtherSystem: another server is named as such, although it lacks the
// slot, too.
func TestStopOtherSystem(t *testing.T) {
	majors := pgtest.Majors(t)
	here := pgtest.CreateDatabase(t, pgtest.Shared(t, majors[0]))
	there := pgtest.CreateDatabase(t, pgtest.Start(t, majors[len(majors)-1], nil))
	pgtest.Exec(t, here, oneTable)
	src := newTestSource(t, here)
	at := progress(t, src, here)
	cfg := src.cfg
	cfg.URL = connector.Secret(pgtest.SourceURL(there))
	pgtest.Exec(t, there, oneTable)
	other := mustSource(t, cfg)
	createPublicationOnly(t, there)
	stop := expectStop(t, openError(t, other, at), "other_system")
	startOver(t, other, there, stop)
}

func createPublicationOnly(t *testing.T, url string) {
	t.Helper()
	pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR TABLE t")
}

func TestStopNoReplicationRight(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION pub FOR TABLE t", "CREATE ROLE "+role+" LOGIN")
		cfg := sourceConfig(t, asUser(t, url, role))
		src := mustSource(t, cfg)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "no_replication_right")
		pgtest.Exec(t, url, nextSQL(stop))
		startOver(t, src, url, stop)
	})
}

// asUser is the URL with another user.
func asUser(t *testing.T, text, user string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

// TestStopNotMade: without create, and for a role that may not, the SQL is
// printed, and works as printed.
func TestStopNotMade(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, `CREATE TABLE "ta.ble's""" (id int PRIMARY KEY)`)
		cfg := sourceConfig(t, url)
		cfg.Create = false
		cfg.Publication = `pub'"x`
		src := mustSource(t, cfg)
		publication := expectStop(t, openError(t, src, entrain.Position{}), "publication_not_made")
		pgtest.Exec(t, url, nextSQL(publication))
		slot := expectStop(t, openError(t, src, entrain.Position{}), "slot_not_made")
		pgtest.Exec(t, url, nextSQL(slot))
		startOver(t, src, url, &entrain.Stop{})
	})
}

func TestStopPublicationByAnotherRole(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, oneTable, "CREATE ROLE "+role+" LOGIN REPLICATION")
		src := mustSource(t, sourceConfig(t, asUser(t, url, role)))
		stop := expectStop(t, openError(t, src, entrain.Position{}), "publication_not_made")
		pgtest.Exec(t, url, nextSQL(stop))
		startOver(t, src, url, &entrain.Stop{})
	})
}

func TestStopNoTables(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		cfg := sourceConfig(t, url)
		cfg.Tables.Include = []string{"shop.*"}
		stop := expectStop(t, openError(t, mustSource(t, cfg), entrain.Position{}), "no_tables")
		if !strings.Contains(stop.Why, "shop.*") {
			t.Errorf("stop %+v", stop)
		}
		cfg.Tables.Include = []string{"public.*"}
		startOver(t, mustSource(t, cfg), url, &entrain.Stop{})
	})
}

// TestStopNoReplicaIdentity: tables whose updates would fail at the source once
// published are named before anything is made (PG-01).
func TestStopNoReplicaIdentity(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE keyless (v text)", "CREATE TABLE fine (v text); ALTER TABLE fine REPLICA IDENTITY FULL",
			`CREATE TABLE "no thing" (id int PRIMARY KEY); ALTER TABLE "no thing" REPLICA IDENTITY NOTHING`,
			"CREATE TABLE late (id int PRIMARY KEY DEFERRABLE)",
			"CREATE TABLE lost_index (v text NOT NULL); CREATE UNIQUE INDEX i ON lost_index (v); ALTER TABLE lost_index REPLICA IDENTITY USING INDEX i; DROP INDEX i")
		src := newTestSource(t, url)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "no_replica_identity")
		for _, table := range []string{`"public"."keyless"`, `"public"."no thing"`, `"public"."late"`, `"public"."lost_index"`} {
			if !strings.Contains(stop.What, table) {
				t.Errorf("%s is not named: %s", table, stop.What)
			}
		}
		if strings.Contains(stop.What, "fine") || strings.Contains(stop.What, `"t"`) {
			t.Errorf("named wrongly: %s", stop.What)
		}
		if n := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_publication"); n != "0" {
			t.Error("a publication was made")
		}
		pgtest.Exec(t, url, stop.Next)
		startOver(t, src, url, &entrain.Stop{})
		pgtest.Exec(t, url, "INSERT INTO late VALUES (1)", "UPDATE late SET id = 2")
	})
}

// TestStopPublicationGone: a publication that is dropped while changes pass by
// is a named stop, an error of the server up to 17 and a warning from 18 on.
func TestStopPublicationGone(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		r := openReader(t, src, at)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (2, 'two')")
		got := captureLines(t, r, 1)
		pgtest.Exec(t, url, "DROP PUBLICATION pub", "INSERT INTO t VALUES (3, 'three')")
		stop := expectStop(t, readUntilError(t, r), "publication_missing")
		var cause *pgconn.PgError
		if !errors.As(stop.Err, &cause) || cause.Routine != "get_publication_oid" && cause.Routine != "LoadPublications" {
			t.Errorf("the server's message comes from elsewhere: %+v", stop.Err)
		}
		closeReader(t, r)
		expectStop(t, openError(t, src, got.last(t)), "publication_missing")
		pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR TABLE t", dropSlot(src.cfg.Slot))
		startOver(t, src, url, stop)
	})
}

// TestStopPublicationMadeTooLate: P5. A publication that is made after the
// changes is missing where they are decoded.
func TestStopPublicationMadeTooLate(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := progress(t, src, url)
		pgtest.Exec(t, url, "DROP PUBLICATION pub", "INSERT INTO t VALUES (2, 'two')", "CREATE PUBLICATION pub FOR TABLE t")
		expectStop(t, readUntilError(t, openReader(t, src, at)), "publication_missing")
	})
}

// readUntilError reads to the end of the session; what it delivers is freed.
func readUntilError(t *testing.T, r entrain.Reader) error {
	t.Helper()
	for {
		b, err := readOrError(t, r)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			t.Fatal("no error came")
		case err != nil:
			return err
		case b.Free != nil:
			b.Free()
		}
	}
}

// TestStopEventTooLarge: P6. A change above the limit is refused by name before
// memory is taken for it, the ones before it are delivered; with the room that
// the stop asks for it gets through.
func TestStopEventTooLarge(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		cfg := sourceConfig(t, url)
		cfg.MaxEventBytes = 1 << 20
		src := mustSource(t, cfg)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'small')",
			"INSERT INTO t VALUES (2, repeat('x', 3000000))", "INSERT INTO t VALUES (3, 'small')")
		r := openReader(t, src, from)
		got := captureLines(t, r, 1)
		stop := expectStop(t, readUntilError(t, r), "event_too_large")
		if !strings.Contains(stop.What, "insert of a row of public.t in transaction") || !strings.Contains(stop.Next, "3MB") {
			t.Errorf("stop %+v", stop)
		}
		closeReader(t, r)
		cfg.MaxEventBytes = 3 << 20
		if rest := captureNow(t, mustSource(t, cfg), got.last(t)); len(rest.lines) != 2 {
			t.Errorf("%d events with more room, want 2", len(rest.lines))
		}
	})
}

// TestWayBack: P1. The way back from a history that is broken empties the tables
// of the target before the rows are copied again.
func TestWayBack(t *testing.T) {
	stop := expectStop(t, stopSlotLost(Config{Slot: "s"}, slotState{}), "slot_lost")
	rest := stop.Next
	for _, step := range []string{"pg_drop_replication_slot('s')", "entrain teardown FILE", "TRUNCATE", "entrain run FILE"} {
		_, after, found := strings.Cut(rest, step)
		if !found {
			t.Fatalf("%q is not in its place in %s", step, stop.Next)
		}
		rest = after
	}
}
