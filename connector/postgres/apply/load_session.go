package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// lease is the right to write of the sink's last session that took the position
// over. Loads write by it.
type lease struct {
	mu   sync.Mutex
	held holder // guarded by mu
}

// holder is who the position row says may write.
type holder struct{ owner, fence, role string }

func (l *lease) set(h holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = h
}

func (l *lease) get() (holder, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held, l.held.owner != ""
}

// claim is a query that has a row as long as its transaction may write: the
// position row is as the holder left it, and the load's row as this load did.
type claim struct {
	sql  string
	args []string
}

const (
	holderSQL = `SELECT 1 FROM entrain.position p
WHERE p.pipeline = $1 AND p.source = $2 AND p.partition = 0 AND p.owner = $3::uuid AND p.fence = $4::bigint`

	loadClaimSQL = `SELECT 1 FROM entrain.position p, entrain.load l
WHERE p.pipeline = $1 AND p.source = $2 AND p.partition = 0 AND p.owner = $3::uuid AND p.fence = $4::bigint
  AND l.pipeline = $1 AND l.schema_name = $5 AND l.table_name = $6 AND l.id = $7::uuid`

	// heldSQL makes a claim last until the end of the transaction, and fails it
	// where there is none: so that what follows needs no answer first.
	heldSQL = `WITH held AS MATERIALIZED (%s FOR SHARE) SELECT 1 / count(*) FROM held`

	stateDivision = "22012"
)

// loadSession is a session of a load. Between calls it is in no transaction.
type loadSession struct {
	cfg    Config
	by     holder
	conn   *pgconn.PgConn
	server string

	catalog *catalog
	rows    partReader
	said    *sync.Map // the sink's
	// unsettled: a COMMIT was sent and not answered.
	unsettled bool
}

// openLoad opens a session for a load.
func (s *Sink) openLoad(ctx context.Context, by holder) (*loadSession, error) {
	cfg, err := s.parse("load")
	if err != nil {
		return nil, dial.FileChanges(err)
	}
	conn, err := dial.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	x := &loadSession{cfg: s.cfg, by: by, conn: conn, server: dial.ServerName(cfg), catalog: newCatalog(conn), said: &s.said}
	x.catalog.role = by.role
	return x, nil
}

func (x *loadSession) holder() claim {
	return claim{sql: holderSQL, args: []string{x.cfg.Pipeline, x.cfg.Source, x.by.owner, x.by.fence}}
}

func (l *tableLoad) claim() claim {
	t := l.from.Table
	return claim{sql: loadClaimSQL, args: []string{l.sink.cfg.Pipeline, l.sink.cfg.Source, l.by.owner, l.by.fence, t.Schema, t.Name, l.id}}
}

// transact runs do in a transaction that commits only if the claim holds at its
// end. There it is held until the commit is settled, so that whoever takes the
// position over afterwards finds all that the load has stored, and nothing
// comes later (P2). Before that it is only looked at: a part can take hours,
// for which nobody should have to wait.
func (x *loadSession) transact(ctx context.Context, c claim, do func() error) error {
	if _, err := x.begin(ctx, c); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return x.commit(ctx, c)
}

// begin is a transaction's first round trip, with questions that the claim does
// not depend on, and returns their rows.
func (x *loadSession) begin(ctx context.Context, c claim, questions ...dial.Question) ([][][]string, error) {
	look, err := x.catalog.question(ctx, c.sql, c.args...)
	if err != nil {
		return nil, err
	}
	rows, err := dial.QueryBatch(ctx, x.conn, append([]dial.Question{{SQL: "BEGIN"}, look}, questions...)...)
	x.catalog.noticed(err, c.sql)
	switch {
	case len(rows) > 1 && len(rows[1]) == 0:
		if err != nil && x.run(ctx, "ROLLBACK") != nil {
			return nil, err
		}
		return nil, x.stopFenced(ctx)
	case err != nil && len(rows) < 2:
		return nil, fmt.Errorf("look at the position row: %w", err)
	case err != nil:
		return nil, err
	}
	return rows[2:], nil
}

// commit is a transaction's last round trip, behind what is left to be done: the
// claim is held, then all is committed, and without the claim nothing.
func (x *loadSession) commit(ctx context.Context, c claim, questions ...dial.Question) error {
	sql := fmt.Sprintf(heldSQL, c.sql)
	hold, err := x.catalog.question(ctx, sql, c.args...)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err() // nothing was sent
	}
	_, err = dial.QueryBatch(ctx, x.conn, append(questions, hold, dial.Question{SQL: "COMMIT"})...)
	if err == nil {
		return nil
	}
	x.catalog.noticed(err, sql)
	state := dial.SQLState(err)
	x.unsettled = state == ""
	if state == stateDivision && x.run(ctx, "ROLLBACK") == nil {
		return x.stopFenced(ctx)
	}
	return fmt.Errorf("commit: %w", err)
}

func (x *loadSession) check(ctx context.Context, c claim) error {
	row, err := x.ask(ctx, c.sql, c.args...)
	if err != nil {
		return fmt.Errorf("look at the position row: %w", err)
	}
	if row == nil {
		return x.stopFenced(ctx)
	}
	return nil
}

// readsAll is for a transaction that reads whole tables, for which the planner
// needs the sequential scans that questions about single tables do without.
func (x *loadSession) readsAll(ctx context.Context) error {
	return x.run(ctx, "SET LOCAL enable_seqscan = on")
}

func (x *loadSession) run(ctx context.Context, sql string) error {
	_, err := dial.QueryRows(ctx, x.conn, sql)
	return err
}

func (x *loadSession) ask(ctx context.Context, sql string, args ...string) ([]string, error) {
	return dial.QueryRow(ctx, x.conn, sql, args...)
}

// attempt runs a statement under a savepoint: if it fails with one of the
// states, it had no effect and that is no error.
func (x *loadSession) attempt(ctx context.Context, sql string, states ...string) (state string, err error) {
	done, err := dial.QueryBatch(ctx, x.conn, dial.Question{SQL: "SAVEPOINT attempt"}, dial.Question{SQL: sql}, dial.Question{SQL: "RELEASE attempt"})
	if err == nil || len(done) != 1 { // it was another one of the three that failed
		return "", err
	}
	for _, state := range states {
		if dial.SQLState(err) == state {
			return state, x.run(ctx, "ROLLBACK TO attempt")
		}
	}
	return dial.SQLState(err), err
}

// explain turns a refused privilege into a stop that says what to grant; it
// ends the transaction for it.
func (x *loadSession) explain(ctx context.Context, err error, t *entrain.Table) error {
	var stop *entrain.Stop
	if dial.SQLState(err) != dial.StateNoPrivilege || errors.As(err, &stop) {
		return err
	}
	text, fault := json.Marshal([]need{
		{Schema: "entrain", Name: "position", Rights: []string{"SELECT", "UPDATE"}},
		{Schema: "entrain", Name: "load", Rights: []string{"SELECT", "INSERT", "UPDATE", "DELETE"}},
		{Schema: t.Schema, Name: t.Name, Rights: rightsOf[entrain.OpRead]},
	})
	if fault != nil {
		return err
	}
	if fault = x.run(ctx, "ROLLBACK"); fault != nil {
		return err
	}
	rows, fault := dial.QueryRows(ctx, x.conn, missingSQL, string(text))
	if fault != nil {
		return err
	}
	return stopNoPrivilege(err, rows, nil, x.by.role)
}

// stopFenced says by whom the right to write was taken.
func (x *loadSession) stopFenced(ctx context.Context) error {
	stop := &entrain.Stop{
		Code: "fenced",
		Why:  "going on could store rows twice; two processes must not run one pipeline",
		Next: fmt.Sprintf("entrain status %s", x.cfg.Pipeline),
	}
	row, err := x.ask(ctx, readRowSQL, x.cfg.Pipeline, x.cfg.Source)
	switch {
	case err != nil:
		stop.What, stop.Err = fmt.Sprintf("the position row of pipeline %q is no longer as it was when the load began", x.cfg.Pipeline), err
	case row == nil:
		stop.What = fmt.Sprintf("the position row of pipeline %q was removed while rows were loaded", x.cfg.Pipeline)
	case row[0] != x.by.fence || row[1] != x.by.owner:
		stop.What = fmt.Sprintf("another session took pipeline %q over (fence %s, ours was %s)", x.cfg.Pipeline, row[0], x.by.fence)
	default:
		stop.What = fmt.Sprintf("another load of pipeline %q took the table over, or its row in entrain.load was removed", x.cfg.Pipeline)
	}
	return stop
}
