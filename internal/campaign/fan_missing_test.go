package campaign

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// lostTable is a fan whose sink two, which makes no tables, has lost one.
type lostTable struct {
	*fan
	srv *pgserver.Server
	p   *process
}

func loseTable(t *testing.T) (lostTable, string) {
	t.Helper()
	srv := pgtest.Start(t, someMajor(t), nil)
	f := &fan{source: pgtest.CreateDatabase(t, srv), one: pgtest.CreateDatabase(t, srv), two: pgtest.CreateDatabase(t, srv)}
	const other = "CREATE TABLE other (id int PRIMARY KEY)"
	pgtest.Exec(t, f.source, ordersSQL, other)
	pgtest.Exec(t, f.two, ordersSQL, other)
	f.write(t, pgtest.Name(t), embedded(""))
	f.file.changeFile(t, "{name: two, "+strings.TrimPrefix(creating(intoPostgres(f.two)), "{"), "{name: two, "+strings.TrimPrefix(intoPostgres(f.two), "{"))
	p := startFan(t, f)
	addOrders(t, f.source, 2, 500)
	haveOrders(t, f.two, 500)
	pgtest.Exec(t, f.two, "DROP TABLE orders")
	pgtest.Exec(t, f.source, "UPDATE orders SET note = 'changed' WHERE id = 7", "INSERT INTO other VALUES (1)")
	stop := f.failing(t, "two", "table_missing")
	_, next, _ := strings.Cut(stop.Failed, "; next: ")
	return lostTable{f, srv, p}, next
}

// goesOn waits until sink two has what came behind the lost table's change.
func (f lostTable) goesOn(t *testing.T) {
	t.Helper()
	pgtest.Exec(t, f.source, "INSERT INTO other VALUES (2)")
	pgtest.Eventually(t, patience, "sink two goes on", func() bool { return pgtest.QueryOne(t, f.two, "SELECT count(*) FROM other") == "2" })
	f.file.until(t, "the failure is forgotten", func(r admin.Report) bool {
		two, _ := delivery(r, "two")
		return two.Failed == ""
	})
}

// byHand makes the table as the stop says.
func (f lostTable) byHand(t *testing.T, next string) {
	t.Helper()
	p := launch(t, strings.Fields(regexp.MustCompile(`entrain (check [^#\n]*)#`).FindStringSubmatch(next)[1])...)
	<-p.ended
	pgtest.Script(t, f.srv, p.stdout.String())
}

// TestFanTableMissing: a table that a sink behind a stream lacks comes back by each of
// the ways that the stop names, with all its rows where it is not left out (P1, P5).
func TestFanTableMissing(t *testing.T) {
	t.Parallel()
	for name, follow := range map[string]func(*testing.T, lostTable, string){
		"by hand": func(t *testing.T, f lostTable, next string) {
			f.byHand(t, next)
			f.goesOn(t)
			resync := regexp.MustCompile(`entrain (table resync .*)`).FindStringSubmatch(next)
			launch(t, strings.Fields(resync[1])...).exit(t, exitOK)
			haveOrders(t, f.two, 500)
			f.same(t, f.two)
		},
		"made": func(t *testing.T, f lostTable, next string) {
			if !strings.Contains(next, "create_tables: true at sink two in "+f.file.path+", and kill -HUP the process") {
				t.Fatalf("the advice is %s", next)
			}
			f.file.changeFile(t, "{name: two, ", "{name: two, create_tables: true, ")
			f.p.signal(t, syscall.SIGHUP)
			f.goesOn(t)
			haveOrders(t, f.two, 500)
			f.same(t, f.two)
		},
		"left out": func(t *testing.T, f lostTable, next string) {
			f.byHand(t, next)
			line := regexp.MustCompile(`source\.tables: (\{exclude: [^}]*\}) in .*kill -HUP`).FindStringSubmatch(next)
			source := fromPostgres(f.source)
			f.file.changeFile(t, source, strings.TrimSuffix(source, "}")+", tables: "+line[1]+"}")
			f.p.signal(t, syscall.SIGHUP)
			f.goesOn(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, next := loseTable(t)
			follow(t, f, next)
			f.p.signal(t, syscall.SIGTERM)
			f.p.exit(t, exitOK)
		})
	}
}

// TestFanRenamed: a sink that gets another name in the file is named by its stop and by
// check, and goes on when it has the old one again, without a row that the source has
// not (P1, P5).
func TestFanRenamed(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(""))
	p := startFan(t, f)
	addOrders(t, f.source, 2, 500)
	haveOrders(t, f.two, 500)
	wait(t.Context(), 8*time.Second) // until the stream has removed what was read
	f.file.changeFile(t, "{name: two,", "{name: three,")
	p.signal(t, syscall.SIGHUP)
	stop := f.failing(t, "three", "stream_overrun")
	pgtest.Exec(t, f.source, "DELETE FROM orders WHERE id <= 100")
	want := "if sink three was renamed, give it the old name back in " + f.file.path + " (name: two), and kill -HUP the process"
	if !strings.Contains(stop.Failed, want) || !strings.Contains(stop.Failed, f.file.name+":two") {
		t.Errorf("the stop is %s", stop.Failed)
	}
	check := launch(t, "check", f.file.path, "--only", "sink_renamed")
	<-check.ended
	if text := check.stdout.String(); !strings.Contains(text, "sink_renamed") || !strings.Contains(text, "(name: two)") {
		t.Errorf("check says %s", text)
	}
	f.file.changeFile(t, "{name: three,", "{name: two,")
	p.signal(t, syscall.SIGHUP)
	haveOrders(t, f.two, 400)
	f.same(t, f.two)
	check = launch(t, "check", f.file.path, "--only", "sink_renamed")
	<-check.ended
	if strings.Contains(check.stdout.String(), "(name: ") {
		t.Errorf("of the right name check says %s", &check.stdout)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
}
