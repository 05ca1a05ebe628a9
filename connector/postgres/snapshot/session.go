package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// session reads one part after the other. It is for one goroutine, except for
// end.
type session struct {
	conn    *pgconn.PgConn
	frames  frames
	copying bool // between a COPY and its end
	// ended: the part's transaction was committed behind its COPY, which the
	// driver has not seen.
	ended   bool
	once    sync.Once
	user    string
	lasting context.Context // for the farewell
}

// take returns a session between two parts, one that is there or a new one.
func (s *Snapshot) take(ctx context.Context, table string) (*session, error) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil, errClosed
	}
	if n := len(s.idle); n > 0 {
		sess := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.used[sess] = table
		s.mu.Unlock()
		return sess, nil
	}
	s.busy.Add(1)
	s.mu.Unlock()
	defer s.busy.Done()
	ctx, cancel := s.within(ctx)
	defer cancel()
	conn, err := dial.Connect(ctx, s.workerConfig())
	if err != nil {
		return nil, err
	}
	sess := &session{conn: conn, user: s.cfg.Server.User, lasting: context.WithoutCancel(s.closed)}
	sess.frames.conn = conn.Conn()
	s.mu.Lock()
	s.used[sess] = table
	s.mu.Unlock()
	return sess, nil
}

// within is ctx until the snapshot is closed.
func (s *Snapshot) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// release takes a session back whose part has ended, or could not be begun.
func (s *Snapshot) release(sess *session) {
	if sess.copying || sess.conn.IsClosed() {
		s.drop(sess)
		sess.settle()
		return
	}
	ctx, cancel := context.WithTimeout(s.closed, dial.CloseTimeout)
	defer cancel()
	var err error
	if !sess.ended && sess.conn.TxStatus() != 'I' {
		_, err = sess.conn.Exec(ctx, "COMMIT").ReadAll() // gives the table's lock back
	}
	s.mu.Lock()
	keep := err == nil && !s.over
	if keep {
		delete(s.used, sess)
		s.idle = append(s.idle, sess)
	}
	s.mu.Unlock()
	if !keep {
		s.drop(sess)
	}
}

// drop ends a session.
func (s *Snapshot) drop(sess *session) {
	sess.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, sess)
}

// end ends a session whatever it is doing; it may be called from any goroutine.
// The server is told, since it would not notice while it waits for a lock.
func (sess *session) end() {
	sess.once.Do(func() {
		ctx, cancel := context.WithTimeout(sess.lasting, dial.CloseTimeout)
		defer cancel()
		_ = sess.conn.CancelRequest(ctx)
		_ = sess.conn.Conn().Close()
	})
}

// settle waits until the driver has ended a session that it has given up.
func (sess *session) settle() {
	if !sess.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(sess.lasting, dial.CloseTimeout)
	defer cancel()
	select {
	case <-sess.conn.CleanupDone():
	case <-ctx.Done():
	}
}

// leave ends a session between two parts.
func (sess *session) leave() { sess.once.Do(func() { dial.Close(sess.lasting, sess.conn) }) }

// start begins the part's transaction and makes sure that the view can read the
// table.
func (sess *session) start(ctx context.Context, s *Snapshot, p part) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	sess.ended = false
	g, err := sess.ask(ctx, beginIn(s.name)+p.gateSQL())
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return p.gateError(dial.Classify(err), sess.user)
	}
	switch {
	case g.view != s.view:
		return fmt.Errorf("the session sees %s, the snapshot is of %s", g.view, s.view)
	case g.oid != p.leaf.oid || g.filenode != p.leaf.filenode:
		return p.rewritten("it has other storage")
	case !slices.EqualFunc(g.columns, p.leaf.columns, same):
		return p.rewritten("its columns are others")
	}
	return nil
}

// send lets the server send rows and, behind them, end the transaction, which
// gives the table's lock back.
func (sess *session) send(ctx context.Context, sql string) error {
	if err := sess.conn.SyncConn(ctx); err != nil {
		return err
	}
	sess.copying = true
	defer sess.frames.interruptedBy(ctx)()
	return sess.frames.ask(sql)
}

// gate is what gateSQL finds out.
type gate struct {
	view, oid, filenode string
	columns             []pgconn.FieldDescription
}

// ask executes gateSQL. Of a query without rows the driver keeps no columns.
func (sess *session) ask(ctx context.Context, sql string) (gate, error) {
	var g gate
	results := sess.conn.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		g.columns = slices.Clone(r.FieldDescriptions())
		for r.NextRow() {
			row := r.Values()
			g.view, g.oid, g.filenode = string(row[0]), string(row[1]), string(row[2])
		}
		if _, err := r.Close(); err != nil {
			return g, errors.Join(err, results.Close())
		}
	}
	return g, results.Close()
}

func same(f pgconn.FieldDescription, c leafColumn) bool {
	return f.TableAttributeNumber == c.number && f.DataTypeOID == c.base
}

// gateSQL locks the table against what would give it other storage, and asks
// for its present state: what the functions say, and the shape of a query, come
// from the catalog as it is now, not as the view has it.
func (p part) gateSQL() string {
	if p.leaf.mark != "" {
		return p.viewGateSQL()
	}
	name := sqltext.Literal(p.leaf.name())
	return "LOCK TABLE ONLY " + p.leaf.name() + " IN ACCESS SHARE MODE; " +
		"SELECT pg_current_snapshot()::text, " + name + "::regclass::oid, pg_relation_filenode(" + name + "::regclass); " +
		"SELECT " + p.leaf.list() + " FROM ONLY " + p.leaf.name() + " LIMIT 0"
}

// copySQL sends the rows of the part.
func (p part) copySQL(m mode) string {
	if p.leaf.mark != "" {
		return "COPY (SELECT " + p.leaf.list() + " FROM " + p.leaf.name() + ") TO STDOUT" + m.format()
	}
	var where []string
	if p.filter != "" {
		where = append(where, "("+p.filter+")")
	}
	where = append(where, fmt.Sprintf("ctid >= '(%d,0)'", p.from))
	if p.to > 0 {
		where = append(where, fmt.Sprintf("ctid < '(%d,0)'", p.to))
	}
	return "COPY (SELECT " + p.leaf.list() + " FROM ONLY " + p.leaf.name() + " WHERE " + strings.Join(where, " AND ") + ") TO STDOUT" + m.format()
}

// rewritten is the error of a table that the view cannot read any more.
func (p part) rewritten(how string) error {
	return entrain.Retryable(fmt.Errorf("%s was rewritten since the snapshot: %s", p.leaf.name(), how))
}

// notReady is the SQLSTATE of a view of the snapshot that is gone, and of a
// materialized one without rows.
const notReady = "55000"

// SQLSTATEs of what is not there.
const undefinedTable, undefinedColumn, undefinedSchema = "42P01", "42703", "3F000"

// gateError tells apart what a new snapshot mends and what it does not.
func (p part) gateError(err error, user string) error {
	switch dial.SQLState(err) {
	case undefinedTable, undefinedColumn, undefinedSchema:
		return entrain.Retryable(fmt.Errorf("%s was rewritten since the snapshot: %w", p.leaf.name(), err))
	}
	switch state := dial.SQLState(err); {
	case state == dial.StateNoPrivilege:
		return p.leaf.refused(err, user)
	case state == notReady && p.leaf.mark != "":
		return p.leaf.unpopulated(err)
	}
	return goneError(err)
}

// goneError marks the errors of a view that does not exist any more.
func goneError(err error) error {
	const invalidName, undefinedObject = "22023", "42704"
	switch dial.SQLState(err) {
	case invalidName, undefinedObject, notReady:
		return fmt.Errorf("%w: the snapshot does not exist any more: %w", entrain.ErrDisconnected, err)
	}
	return err
}
