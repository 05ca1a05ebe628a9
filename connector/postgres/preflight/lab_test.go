package preflight_test

import (
	"context"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// lab is a pair of databases in which all is well: one table with odd names
// that both have, owned by a role that owns the databases, too.
type lab struct {
	t                      *testing.T
	srv                    *pgserver.Server
	major                  int
	source, target         string // URLs of the superuser
	keeper, capture, apply string // roles
	file                   pipelineFile
	copies                 bool // existing rows are to be copied
	partitions             int  // of the stream between the two
	classes                bool // each table is of one of its own
}

// pipelineFile is the part of it that fixes can change.
type pipelineFile struct {
	Source postgres.SourceConfig `yaml:"source"`
	Sink   postgres.SinkConfig   `yaml:"sink"`
	// Snapshot chooses the tables that are copied.
	Snapshot struct {
		Tables postgres.Tables `yaml:"tables"`
	} `yaml:"snapshot"`
}

// The names of the lab's table need quoting in every place that they can be in.
const (
	oddSchema = `sch"e'ma \`
	oddName   = "ta\"ble; --\n'x' $$"
)

var (
	oddTable  = sqltext.Table(oddSchema, oddName)
	oddColumn = sqltext.Ident(`co"l 'v' \`)
)

// settle is how long a reload or the end of a session may take.
const settle = 20 * time.Second

func newLab(t *testing.T, srv *pgserver.Server, major int) *lab {
	t.Helper()
	name := pgtest.Name(t)
	l := &lab{t: t, srv: srv, major: major, source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv),
		keeper: `ke"eper ` + name, capture: `cap'ture ` + name, apply: `ap\ply ` + name}
	admin := srv.URL("postgres")
	for _, role := range []string{l.keeper, l.capture, l.apply} {
		pgtest.Exec(t, admin, "CREATE ROLE "+sqltext.Ident(role)+" LOGIN")
	}
	pgtest.Exec(t, admin, "ALTER ROLE "+l.q(l.capture)+" REPLICATION")
	for _, db := range []string{databaseOf(l.source), databaseOf(l.target)} {
		pgtest.Exec(t, admin, "ALTER DATABASE "+db+" OWNER TO "+l.q(l.keeper))
	}
	table := []string{"CREATE SCHEMA " + sqltext.Ident(oddSchema),
		"CREATE TABLE " + oddTable + " (id int4 PRIMARY KEY, " + oddColumn + " text)"}
	l.asKeeper(l.source, append(table, l.grants(l.capture, "SELECT"), "CREATE PUBLICATION pub FOR TABLE "+oddTable)...)
	l.asKeeper(l.target, append(table, l.grants(l.apply, "ALL"),
		"GRANT CREATE ON DATABASE "+databaseOf(l.target)+" TO "+l.q(l.apply))...)
	l.file.Source = postgres.SourceConfig{URL: connector.Secret(as(l.source, l.capture)), Slot: name, Publication: "pub",
		Create: true, Pipeline: name}
	l.file.Sink = postgres.SinkConfig{URL: connector.Secret(as(l.target, l.apply)), Pipeline: name}
	return l
}

// grants lets the role use all that is in the lab's schema now.
func (l *lab) grants(role, right string) string {
	return "GRANT USAGE ON SCHEMA " + sqltext.Ident(oddSchema) + " TO " + l.q(role) +
		"; GRANT " + right + " ON ALL TABLES IN SCHEMA " + sqltext.Ident(oddSchema) + " TO " + l.q(role)
}

func (l *lab) q(name string) string { return sqltext.Ident(name) }

// asKeeper executes statements as the owner of everything.
func (l *lab) asKeeper(db string, sql ...string) {
	l.t.Helper()
	pgtest.Exec(l.t, as(db, l.keeper), sql...)
}

func as(text, role string) string {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	u.User = url.User(role)
	return u.String()
}

func databaseOf(text string) string { return text[strings.LastIndex(text, "/")+1:] }

// check examines both ends as the command does.
func (l *lab) check() (source, target entrain.Report) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	l.choose()
	var err error
	if source, err = mustSource(l.t, l).Check(ctx, nil); err != nil {
		l.t.Fatalf("check the source: %v", err)
	}
	source.Partitions = l.partitions
	if l.classes {
		source.Class = func(_, name string) string { return "of " + name }
	}
	if target, err = mustSink(l.t, l).Check(ctx, &source); err != nil {
		l.t.Fatalf("check the target: %v", err)
	}
	return source, target
}

// choose tells both ends what is to be copied.
func (l *lab) choose() {
	l.file.Source.Copies, l.file.Sink.Copies = nil, l.copies
	if !l.copies {
		return
	}
	excluded, err := connector.MatchTables(l.file.Snapshot.Tables.Exclude)
	if err != nil {
		l.t.Fatal(err)
	}
	l.file.Source.Copies = func(schema, name string) bool { return !excluded(schema, name) }
}

func mustSource(t *testing.T, l *lab) *postgres.Source {
	t.Helper()
	source, err := postgres.NewSource(l.file.Source)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func mustSink(t *testing.T, l *lab) *postgres.Sink {
	t.Helper()
	sink, err := postgres.NewSink(l.file.Sink)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// findings returns what is not well under the code, at either end.
func (l *lab) findings(code string) []entrain.Finding {
	l.t.Helper()
	source, target := l.check()
	return slices.DeleteFunc(append(source.Findings, target.Findings...), func(f entrain.Finding) bool {
		return f.Code != code || f.Status == entrain.FindingOK
	})
}

// mend does what the fixes say; steps at one place are one session.
func (l *lab) mend(fixes []entrain.Fix) {
	l.t.Helper()
	sessions := map[string]*pgconn.PgConn{}
	for _, fix := range fixes {
		switch {
		case fix.Config != "":
			if err := yaml.UnmarshalWithOptions([]byte(fix.Config), &l.file, yaml.Strict()); err != nil {
				l.t.Fatalf("patch the file with %q: %v", fix.Config, err)
			}
		case fix.Shell == "entrain sequences sync FILE":
			l.syncSequences()
		case fix.Shell != "":
			if out, err := exec.CommandContext(l.t.Context(), "sh", "-c", fix.Shell).CombinedOutput(); err != nil {
				l.t.Fatalf("%s: %v\n%s", fix.Shell, err, out)
			}
		default:
			if sessions[fix.Where] == nil {
				sessions[fix.Where] = pgtest.Connect(l.t, l.whose(fix.Where))
			}
			if err := execute(l.t.Context(), sessions[fix.Where], fix.SQL); err != nil {
				l.t.Fatalf("%s: %s: %v", fix.Where, fix.SQL, err)
			}
		}
		if fix.Restart {
			clear(sessions)
			l.restart()
		}
	}
}

// syncSequences does what the command does; that the command does so is tested
// where it is.
func (l *lab) syncSequences() {
	l.t.Helper()
	sequences, err := mustSource(l.t, l).Sequences(l.t.Context())
	if err == nil {
		_, err = mustSink(l.t, l).Advance(l.t.Context(), sequences, 10)
	}
	if err != nil {
		l.t.Fatalf("sync the sequences: %v", err)
	}
}

// execute does what is one statement or one transaction, and nothing else.
func execute(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	if !inTransaction(sql) {
		return conn.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
	}
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}

// whose is the session that a fix asks for.
func (l *lab) whose(where string) string {
	place, who, ok := strings.Cut(where, ", ")
	if !ok {
		l.t.Fatalf("fix at %q names no role", where)
	}
	db := map[bool]string{true: l.source, false: l.target}[strings.HasPrefix(place, "source ")]
	if !strings.Contains(place, databaseOf(db)) {
		l.t.Fatalf("fix at %q does not name database %s", where, databaseOf(db))
	}
	switch who {
	case "as a superuser":
		return db
	case "as a role with REPLICATION":
		return as(db, l.capture)
	case "as the owner of the table", "as the owner of the tables", "as the owner of the database", "as the owner of the publication",
		"as the owner of the schema", "as the owner of the schema and the table", "as the owner of the table and the publication", "as the role that shall own the table":
		return as(db, l.keeper)
	}
	l.t.Fatalf("fix by an unknown role: %s", where)
	return ""
}

func (l *lab) restart() {
	l.t.Helper()
	if err := l.srv.Restart(context.WithoutCancel(l.t.Context())); err != nil {
		l.t.Fatal(err)
	}
}

// afterwards executes statements as the superuser when the test has ended.
func (l *lab) afterwards(sql ...string) {
	l.t.Cleanup(func() {
		ctx := context.WithoutCancel(l.t.Context())
		conn, err := pgconn.Connect(ctx, l.srv.URL("postgres"))
		if err != nil {
			l.t.Error(err)
			return
		}
		defer conn.Close(ctx)
		for _, text := range sql {
			if _, err := conn.Exec(ctx, text).ReadAll(); err != nil {
				l.t.Errorf("%s: %v", text, err)
			}
		}
	})
}

// effect is what makes a server take changed settings.
type effect bool

const (
	byReload  effect = false
	byRestart effect = true
)

// configure sets settings of the server for this test.
func (l *lab) configure(settings map[string]string, by effect) {
	l.t.Helper()
	if by == byRestart {
		l.t.Cleanup(l.restart)
	}
	l.afterwards("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
	admin := l.srv.URL("postgres")
	for name, value := range settings {
		pgtest.Exec(l.t, admin, "ALTER SYSTEM SET "+name+" = "+sqltext.Literal(value))
	}
	pgtest.Exec(l.t, admin, "SELECT pg_reload_conf()")
	if by == byRestart {
		l.restart()
	}
}
