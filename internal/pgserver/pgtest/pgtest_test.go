package pgtest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestMain(m *testing.M) { Main(m) }

// judge is a test whose failure is wanted.
type judge struct {
	testing.TB
	fatal string
}

func (j *judge) Helper() {}

func (j *judge) Fatal(args ...any) { j.Fatalf("%s", fmt.Sprint(args...)) }

func (j *judge) Fatalf(format string, args ...any) {
	j.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what body died of, "" if it did not.
func failure(t *testing.T, body func(t testing.TB)) string {
	j := &judge{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		body(j)
	}()
	<-done
	return j.fatal
}

func TestMajorsFollowTheEnvironment(t *testing.T) {
	t.Setenv("ENTRAIN_TEST_PG", "")
	if got := Majors(t); !slices.Equal(got, []int{15, 18}) {
		t.Errorf("default majors %v", got)
	}
	t.Setenv("ENTRAIN_TEST_PG", "14, 17")
	if got := Majors(t); !slices.Equal(got, []int{14, 17}) {
		t.Errorf("majors %v, want 14 and 17", got)
	}
	for _, bad := range []string{"13", "fifteen", "15,"} {
		t.Setenv("ENTRAIN_TEST_PG", bad)
		if failure(t, func(t testing.TB) { Majors(t) }) == "" {
			t.Errorf("ENTRAIN_TEST_PG=%q was accepted", bad)
		}
	}
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, "third call", func() bool { calls++; return calls == 3 })
	died := failure(t, func(t testing.TB) {
		Eventually(t, 20*time.Millisecond, "pigs fly", func() bool { return false })
	})
	if !strings.Contains(died, "pigs fly") || !strings.Contains(died, "20ms") {
		t.Errorf("failure %q names neither what nor how long", died)
	}
}

func TestQueryShowsNullAndLastResult(t *testing.T) {
	url := CreateDatabase(t, Shared(t, 15))
	Exec(t, url, "CREATE TABLE t(id int, v text)", "INSERT INTO t VALUES (1, NULL), (2, '')")
	got := fmt.Sprintf("%q", Query(t, url, "SELECT 'not me'; SELECT * FROM t ORDER BY id"))
	if want := `[["1" "<NULL>"] ["2" ""]]`; got != want {
		t.Errorf("Query = %s, want %s", got, want)
	}
	for _, sql := range []string{"SELEKT", "SELECT 1, 2", "SELECT 1 WHERE false"} {
		if died := failure(t, func(t testing.TB) { QueryOne(t, url, sql) }); !strings.Contains(died, sql) {
			t.Errorf("%s: failure %q does not name the statement", sql, died)
		}
	}
	if died := failure(t, func(t testing.TB) { Exec(t, url, "DROP nothing") }); !strings.Contains(died, "DROP nothing") {
		t.Errorf("failure %q does not name the statement", died)
	}
}

func TestSharedIsOneServerAndDatabasesAreDistinct(t *testing.T) {
	srv := Shared(t, 15)
	if again := Shared(t, 15); again != srv {
		t.Error("Shared started a second server")
	}
	if a, b := CreateDatabase(t, srv), CreateDatabase(t, srv); a == b {
		t.Errorf("two databases have one URL %s", a)
	}
}

func TestNamesAreIdentifiers(t *testing.T) {
	t.Run("Ünusual/name with \"quotes\" and a very long tail that has to be cut", func(t *testing.T) {
		name := Name(t)
		if len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("Name() = %q", name)
		}
	})
}

func TestSlotsGoWithTheTest(t *testing.T) {
	srv := Shared(t, 15)
	var walsender *pgconn.PgConn
	t.Run("inner", func(t *testing.T) {
		url := CreateDatabase(t, srv)
		Exec(t, url, "SELECT pg_create_logical_replication_slot('"+Name(t)+"', 'pgoutput')")
		active := Name(t)
		Exec(t, url, "CREATE PUBLICATION p", "SELECT pg_create_logical_replication_slot('"+active+"', 'pgoutput')")
		var err error
		walsender, err = pgconn.Connect(t.Context(), url+"?replication=database")
		if err != nil {
			t.Fatal(err)
		}
		walsender.Exec(t.Context(), "START_REPLICATION SLOT "+active+" LOGICAL 0/0 (proto_version '1', publication_names 'p')")
		Eventually(t, time.Minute, "the slot is in use", func() bool {
			return QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots WHERE active") == "1"
		})
		// The session stays open: the database's cleanup has to end it.
	})
	walsender.Conn().Close()
	if got := QueryOne(t, srv.URL("postgres"), "SELECT count(*) FROM pg_replication_slots"); got != "0" {
		t.Errorf("%s slots left after the test that made them", got)
	}
}
