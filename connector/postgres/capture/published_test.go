package capture

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// logText collects what a source logs; it may be written to from beside.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// warnings opens and closes a session and returns the warnings it logged.
func warnings(t *testing.T, cfg Config) string {
	t.Helper()
	text := &logText{}
	cfg.Log = slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelWarn}))
	closeReader(t, openReader(t, mustSource(t, cfg), entrain.Position{}))
	text.mu.Lock()
	defer text.mu.Unlock()
	return strings.ReplaceAll(text.buf.String(), `\"`, `"`)
}

// parted makes a partitioned table m with two leaves, one of them below a
// partitioned table of its own.
func parted(t *testing.T, url, columns string) {
	t.Helper()
	pgtest.Exec(t, url, "CREATE TABLE m ("+columns+") PARTITION BY RANGE (id)",
		"CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (100)",
		"CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)",
		`CREATE TABLE "m 2 a" PARTITION OF m_2 FOR VALUES FROM (100) TO (200)`)
}

const keyedColumns = "id int PRIMARY KEY, n int, body text"

// TestStopNoIdentityPartitioned: the SQL that is printed for a keyless
// partitioned table lets its leaves be updated once it is published.
func TestStopNoIdentityPartitioned(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		parted(t, url, "id int, n int, body text")
		src := newTestSource(t, url)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "no_replica_identity")
		for _, table := range []string{`"public"."m"`, `"public"."m_1"`, `"public"."m 2 a"`} {
			if !strings.Contains(stop.What, table) || !strings.Contains(stop.Next, "ALTER TABLE "+table+" ") {
				t.Errorf("%s is missing in %+v", table, stop)
			}
		}
		pgtest.Exec(t, url, stop.Next)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO m VALUES (1, 0, 'a'), (101, 0, 'b')", "UPDATE m SET n = 1", "DELETE FROM m")
		if got := captureNow(t, src, from); len(got.lines) != 6 {
			t.Errorf("captured %q, want 6 events", got.lines)
		}
	})
}

// TestStopPartitionIdentity: P1. A leaf that is identified otherwise than its
// root is refused when the publication is made and whenever it is used, and
// with the SQL that is printed values that an update left alone are right.
func TestStopPartitionIdentity(t *testing.T) {
	cases := map[string][]string{
		"root full":   {"ALTER TABLE m REPLICA IDENTITY FULL"},
		"leaf full":   {"ALTER TABLE m_1 REPLICA IDENTITY FULL"},
		"other index": {"ALTER TABLE m_1 ALTER n SET NOT NULL; CREATE UNIQUE INDEX i ON m_1 (n); ALTER TABLE m_1 REPLICA IDENTITY USING INDEX i"},
		"root index": {"ALTER TABLE m ALTER n SET NOT NULL; CREATE UNIQUE INDEX i ON m (id, n)",
			"ALTER TABLE m REPLICA IDENTITY USING INDEX i"},
	}
	for name, alter := range cases {
		t.Run(name, func(t *testing.T) {
			eachShared(t, func(t *testing.T, url string) {
				parted(t, url, keyedColumns)
				pgtest.Exec(t, url, alter...)
				src := newTestSource(t, url)
				expectStop(t, openError(t, src, entrain.Position{}), "partition_identity")
				pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR TABLE m WITH (publish_via_partition_root = true)")
				stop := expectStop(t, openError(t, src, entrain.Position{}), "partition_identity")
				if !strings.Contains(stop.What, `"public"."m_1"`) {
					t.Errorf("the leaf is not named: %s", stop.What)
				}
				pgtest.Exec(t, url, stop.Next)
				checkUnchangedBody(t, src, url)
			})
		})
	}
}

// checkUnchangedBody updates a row beside a large value and looks that no
// event takes that for NULL.
func checkUnchangedBody(t *testing.T, src *Source, url string) {
	t.Helper()
	from := createSlot(t, src)
	pgtest.Exec(t, url, "ALTER TABLE m_1 ALTER body SET STORAGE EXTERNAL",
		"INSERT INTO m VALUES (1, 0, repeat('x', 5000))", "UPDATE m SET n = 1", "DELETE FROM m")
	got := captureNow(t, src, from)
	if len(got.lines) != 3 || strings.Contains(strings.Join(got.lines, ""), `"body":null`) {
		t.Errorf("captured %.300q", got.lines)
	}
}

// TestPartitionIdentityEqual: what counts are the columns, not how they are
// named the identity; those that an index merely includes are none.
func TestPartitionIdentityEqual(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		parted(t, url, keyedColumns)
		pgtest.Exec(t, url, "CREATE UNIQUE INDEX i ON m (id) INCLUDE (n)", "ALTER TABLE m REPLICA IDENTITY USING INDEX i")
		checkUnchangedBody(t, newTestSource(t, url), url)
	})
}

// TestPartitionMadeLater: P1. A partition that is made while changes flow has
// not the full identity of its root: its rows' old images do not know a large
// value that an update left alone. It is not taken for NULL.
func TestPartitionMadeLater(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		parted(t, url, keyedColumns)
		for _, table := range []string{"m", "m_1", `"m 2 a"`} {
			pgtest.Exec(t, url, "ALTER TABLE "+table+" REPLICA IDENTITY FULL")
		}
		src := newTestSource(t, url)
		r := openReader(t, src, entrain.Position{})
		pgtest.Exec(t, url, "CREATE TABLE m_3 PARTITION OF m FOR VALUES FROM (200) TO (300)",
			"ALTER TABLE m_3 ALTER body SET STORAGE EXTERNAL",
			"INSERT INTO m VALUES (201, 0, repeat('x', 5000))", "UPDATE m SET n = 1")
		update := captureLines(t, r, 2).lines[1]
		_, after, found := strings.Cut(update, `"after":`)
		if after, _, _ := strings.Cut(after, "}"); !found || strings.Contains(after, `"body"`) {
			t.Errorf("the update is %.400s", update)
		}
		closeReader(t, r)
		stop := expectStop(t, openError(t, src, entrain.Position{}), "partition_identity")
		if !strings.Contains(stop.What, "m_3") {
			t.Errorf("stop %+v", stop)
		}
	})
}

// TestPartitionsPublishedThemselves: leaves that are sent as themselves are
// described by their own identity, so that it may be any.
func TestPartitionsPublishedThemselves(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		parted(t, url, keyedColumns)
		pgtest.Exec(t, url, "ALTER TABLE m_1 REPLICA IDENTITY FULL", "CREATE PUBLICATION pub FOR TABLE m")
		src := newTestSource(t, url)
		if got := warnings(t, src.cfg); got != "" {
			t.Errorf("warned: %s", got)
		}
		checkUnchangedBody(t, src, url)
	})
}

// TestWarnPartitionsNotTaken: P1. A table whose partitions are sent under names
// that nobody wants is missed, and the SQL that is printed has it delivered.
func TestWarnPartitionsNotTaken(t *testing.T) {
	for name, published := range map[string]string{"root": "m", "some leaves": "m_1", "all leaves": `m_1, "m 2 a"`} {
		t.Run(name, func(t *testing.T) {
			eachShared(t, func(t *testing.T, url string) {
				parted(t, url, keyedColumns)
				pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR TABLE "+published)
				cfg := sourceConfig(t, url)
				cfg.Tables.Include = []string{"public.m"}
				got := warnings(t, cfg)
				_, next, found := strings.Cut(got, `next="`)
				if !found || strings.Count(got, "level=WARN") != 1 {
					t.Fatalf("want one warning with SQL: %s", got)
				}
				next, _, _ = strings.Cut(next, "\"\n")
				pgtest.Exec(t, url, next)
				if got := warnings(t, cfg); strings.Contains(got, "next=") {
					t.Errorf("after mending: %s", got)
				}
				src := mustSource(t, cfg)
				from := createSlot(t, src)
				pgtest.Exec(t, url, "INSERT INTO m VALUES (1, 0, 'a'), (101, 0, 'b')")
				if got := captureNow(t, src, from); len(got.lines) != 2 {
					t.Errorf("captured %q, want 2 events", got.lines)
				}
			})
		})
	}
}

// TestWarnOnce: what is said about tables is said once a process, again when it
// is about others.
func TestWarnOnce(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE a (v text)", "CREATE PUBLICATION pub FOR TABLE t, a")
		text, cfg := &logText{}, sourceConfig(t, url)
		cfg.Log = slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelWarn}))
		src := mustSource(t, cfg)
		for i, want := range []int{1, 1, 2} {
			if i == 2 {
				pgtest.Exec(t, url, "CREATE TABLE b (v text)", "ALTER PUBLICATION pub ADD TABLE b")
			}
			r := openReader(t, src, entrain.Position{})
			for name := range r.Counts() {
				if !strings.HasPrefix(name, "source_") {
					t.Errorf("%s could be taken for the pipeline's", name)
				}
			}
			closeReader(t, r)
			text.mu.Lock()
			if got := strings.Count(text.buf.String(), "level=WARN"); got != want {
				t.Errorf("%d warnings, want %d:\n%s", got, want, text.buf.String())
			}
			text.mu.Unlock()
		}
	})
}

// TestWarnPublication: what an existing publication leaves out is said at each
// start, with SQL that mends it.
func TestWarnPublication(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION pub FOR TABLE t WITH (publish = 'insert')")
		parted(t, url, keyedColumns)
		pgtest.Exec(t, url, "CREATE SCHEMA entrain", "CREATE TABLE entrain.position (id int PRIMARY KEY)",
			"CREATE TABLE keyless (v text)", "CREATE TABLE other (v text)", "CREATE UNLOGGED TABLE u (v text)",
			"ALTER PUBLICATION pub ADD TABLE keyless")
		cfg := sourceConfig(t, url)
		cfg.Tables.Exclude = []string{"public.other"}
		got := warnings(t, cfg)
		mends := []string{
			`ALTER PUBLICATION "pub" SET (publish = 'insert, update, delete, truncate');`,
			`ALTER PUBLICATION "pub" ADD TABLE "public"."m";`,
			`ALTER TABLE "public"."keyless" REPLICA IDENTITY FULL;`,
		}
		for _, sql := range mends {
			if !strings.Contains(got, sql) {
				t.Errorf("no %s in:\n%s", sql, got)
			}
		}
		if n := strings.Count(got, "level=WARN"); n != len(mends) {
			t.Errorf("%d warnings, want %d:\n%s", n, len(mends), got)
		}
		cfg.Create = false
		if got := warnings(t, cfg); strings.Contains(got, "ADD TABLE") {
			t.Errorf("tables are missed that nobody asked for:\n%s", got)
		}
		cfg.Tables.Include = []string{"public.*"}
		if got := warnings(t, cfg); !strings.Contains(got, mends[1]) {
			t.Errorf("an included table is not missed:\n%s", got)
		}
		pgtest.Exec(t, url, append(mends, `ALTER PUBLICATION pub SET (publish_via_partition_root = true)`)...)
		got = warnings(t, cfg)
		if strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "TRUNCATE, ATTACH, DETACH") || !strings.Contains(got, `"public"."m"`) {
			t.Errorf("after mending, want what a partition's own commands do not carry alone:\n%s", got)
		}
	})
}

// TestStopNoConnectRight: the missing right is told apart from REPLICATION.
func TestStopNoConnectRight(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		database := pgtest.QueryOne(t, url, "SELECT quote_ident(current_database())")
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION pub FOR TABLE t", "CREATE ROLE "+role+" LOGIN REPLICATION",
			"REVOKE CONNECT ON DATABASE "+database+" FROM PUBLIC")
		src := newTestSource(t, asUser(t, url, role))
		stop := expectStop(t, openError(t, src, entrain.Position{}), "no_connect_right")
		pgtest.Exec(t, url, nextSQL(stop))
		startOver(t, src, url, stop)
	})
}

// TestConnectErrorOther: a refusal of another kind gets no advice that is not
// about it.
func TestConnectErrorOther(t *testing.T) {
	refused := &pgconn.PgError{Code: "42501", Message: "the proxy says no"}
	err := connectError(refused, &pgconn.Config{User: "u"})
	var stop *entrain.Stop
	if errors.As(err, &stop) || !errors.Is(err, refused) {
		t.Errorf("became %v", err)
	}
}
