package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Read implements [entrain.ChunkSession]. It takes three round trips. A chunk has
// fewer rows than it may where they are large. The end of the log is asked for
// behind the view's transaction, which is not before; and what the rows depend on
// is looked at once more behind that.
func (k *Keyed) Read(ctx context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	if k.over != nil {
		return nil, k.over
	}
	c, err := k.read(ctx, q)
	if err != nil {
		return nil, k.failed(fmt.Errorf("read table %s by key: %w", q.Table, err))
	}
	return c, nil
}

func (k *Keyed) read(ctx context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	t, err := k.known(ctx, q.Table)
	if err != nil {
		return nil, err
	}
	c := &entrain.Chunk{}
	mark, err := k.enter(ctx, t, c)
	if err != nil {
		return nil, k.tableError(t, err)
	}
	if t, err = k.present(ctx, knownAs{t, mark}, q.Table); err != nil {
		return nil, err
	}
	c.Table = t.shape
	if t.shape.Version == q.Table.Version {
		if err := k.rows(ctx, t, q, c); err != nil {
			return nil, k.tableError(t, err)
		}
	}
	if err := k.leave(ctx, knownAs{t, mark}, c); err != nil {
		return nil, err
	}
	return c, nil
}

// known finds the table, and lists the tables if it is new.
func (k *Keyed) known(ctx context.Context, shape *entrain.Table) (*keyedTable, error) {
	t := named(k.tables, shape)
	if t == nil {
		if _, err := k.list(ctx); err != nil {
			return nil, err
		}
		t = named(k.tables, shape)
	}
	return t, fit(t, shape)
}

// fit fails if a table cannot be read.
func fit(t *keyedTable, shape *entrain.Table) error {
	switch {
	case t == nil:
		return entrain.Retryable(fmt.Errorf("table %s is not captured (any more)", shape))
	case t.refused != "":
		return entrain.Retryable(fmt.Errorf("table %s cannot be read by key: %s", shape, t.refused))
	}
	return nil
}

// enter begins the chunk's transaction: it locks the table, then takes the view,
// which so is younger than the table's storage. It returns the table's mark.
func (k *Keyed) enter(ctx context.Context, t *keyedTable, c *entrain.Chunk) (mark string, err error) {
	rows, err := k.ask(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE "+t.source()+" IN ACCESS SHARE MODE; "+
		"SELECT pg_current_snapshot()::text, coalesce(("+k.catalog().markOf(t.name())+"), '')")
	if err != nil {
		return "", err
	}
	if c.View, err = parseView(rows[0][0]); err != nil {
		return "", err
	}
	return rows[0][1], nil
}

// knownAs is a table as it was last found, and its mark now.
type knownAs struct {
	table *keyedTable
	mark  string
}

// present returns the table as it is, which is looked for if it is another one
// than is known or is asked for.
func (k *Keyed) present(ctx context.Context, now knownAs, shape *entrain.Table) (*keyedTable, error) {
	known := now.table
	if now.mark == known.mark && known.shape.Version == shape.Version {
		return known, k.sameFilter(known)
	}
	tables, err := k.learn(ctx)
	if err != nil {
		return nil, err
	}
	for oid, t := range tables {
		if before := k.tables[oid]; before != nil {
			t.expected = before.expected
		}
	}
	k.keep(tables)
	t := named(tables, shape)
	switch err := fit(t, shape); {
	case err != nil:
		return nil, err
	case t.root != known.root:
		return nil, entrain.Retryable(fmt.Errorf("table %s was made anew", shape))
	}
	return t, k.sameFilter(t)
}

// learn reads the catalog in a chunk's transaction.
func (k *Keyed) learn(ctx context.Context) (map[string]*keyedTable, error) {
	if _, err := k.ask(ctx, anyPlanSQL); err != nil {
		return nil, err
	}
	tables, err := k.catalog().keyed(ctx)
	if err == nil {
		_, err = k.ask(ctx, ownPlanSQL)
	}
	return tables, err
}

// sameFilter fails if the rows that the stream has are others than before: what
// was read until then does not fit them.
func (k *Keyed) sameFilter(t *keyedTable) error {
	if t.filter == t.expected {
		return nil
	}
	name := func(filter string) string {
		if filter == "" {
			return "none"
		}
		return filter
	}
	return entrain.Retryable(fmt.Errorf("%w: the publication's row filter of table %s was %s and is %s",
		entrain.ErrOtherRows, t.shape, name(t.expected), name(t.filter)))
}

// rows reads the rows of the query. Of a table whose rows may be large it asks for
// fewer.
func (k *Keyed) rows(ctx context.Context, t *keyedTable, q entrain.ChunkQuery, c *entrain.Chunk) error {
	if err := t.takes(q); err != nil {
		return err
	}
	limit := q.Rows
	if q.Of != nil {
		limit = 1
	}
	if t.width > 0 {
		limit = min(limit, max(keyedBytes/t.width, 1))
	}
	buf := make([]byte, 0, min(t.width*limit*9/8, keyedBytes*5/4))
	if err := k.sess.conn.SyncConn(ctx); err != nil {
		return dial.Classify(err)
	}
	stop := k.sess.frames.interruptedBy(ctx)
	got, err := k.copy(t, t.copySQL(q, limit), buf)
	stop()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return k.lost(ctx.Err())
	case dial.SQLState(err) == "":
		return k.lost(t.readError(err, k.cfg.MaxRow))
	default:
		return t.readError(withoutOurs(err), k.cfg.MaxRow)
	}
	c.Rows = got.rows
	if len(c.Rows) == 0 {
		return nil
	}
	t.width = got.size/len(c.Rows) + 1
	c.More = q.Of == nil && (got.cut || len(c.Rows) == limit)
	last := c.Rows[len(c.Rows)-1]
	for i, column := range t.shape.Columns {
		if column.Key {
			value, _ := last.Column(i, len(t.shape.Columns))
			c.Last = append(c.Last, string(value))
		}
	}
	return nil
}

// takes fails if the query is none for the table.
func (t *keyedTable) takes(q entrain.ChunkQuery) error {
	for _, key := range [][]string{q.After, q.Of} {
		if key != nil && len(key) != len(t.key) {
			return fmt.Errorf("a key of %d columns instead of %d", len(key), len(t.key))
		}
	}
	if q.Of == nil && q.Rows <= 0 {
		return fmt.Errorf("a chunk of %d rows", q.Rows)
	}
	return nil
}

// read are the rows that a COPY has brought.
type read struct {
	rows []entrain.Row
	size int
	cut  bool // there were more
}

// copy lets the server send rows and takes as many as a chunk holds. The
// connection is ready for the next command behind it unless the error is none of
// the server's.
func (k *Keyed) copy(t *keyedTable, sql string, buf []byte) (read, error) {
	var got read
	var text copyText
	frames, n := &k.sess.frames, len(t.shape.Columns)
	err := frames.ask(sql)
	for err == nil {
		var line []byte
		if line, err = frames.next(k.cfg.MaxRow); err != nil {
			break
		}
		if got.size >= keyedBytes {
			got.cut = true
			return got, k.cancel()
		}
		if 4*n+len(line) >= entrain.MaxRowBytes {
			return got, errTooLarge
		}
		var row entrain.Row
		before := len(buf)
		if row, buf, err = text.row(buf, line, n); err == nil {
			got.rows = append(got.rows, row)
			got.size += len(buf) - before
		}
	}
	if errors.Is(err, io.EOF) {
		return got, nil
	}
	if dial.SQLState(err) != "" {
		err = errors.Join(err, k.drain())
	}
	return got, err
}

// cancel makes the server stop sending.
func (k *Keyed) cancel() error {
	ctx, cancel := context.WithTimeout(k.sess.lasting, dial.CloseTimeout)
	defer cancel()
	if err := k.sess.conn.CancelRequest(ctx); err != nil {
		return dial.Classify(err)
	}
	return k.drain()
}

// drain reads to the end of a command, however it ends.
func (k *Keyed) drain() error {
	for {
		_, err := k.sess.frames.next(k.cfg.MaxRow)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && dial.SQLState(err) == "":
			return err
		}
	}
}

// leave ends the chunk's transaction and finds the end of the log. Then it makes
// the stream move behind that, and looks whether what the rows depend on is as it
// was.
func (k *Keyed) leave(ctx context.Context, entered knownAs, c *entrain.Chunk) error {
	t := entered.table
	results, err := k.askAll(ctx, "ROLLBACK; BEGIN READ WRITE; SELECT pg_current_wal_insert_lsn()::text; "+k.cfg.Beat+"; COMMIT; "+
		k.catalog().markOf(t.name()))
	if err != nil {
		return err
	}
	if after := results[len(results)-1]; len(after) != 1 || after[0][0] != entered.mark {
		return entrain.Retryable(errors.New("the table or its publication changed meanwhile"))
	}
	end, err := parseLSN(results[0][0][0])
	if err != nil {
		return err
	}
	end = k.log.reachable(end)
	c.Version = end - 1
	at := k.cfg.At
	c.Reached = func(p entrain.Position) bool {
		reached, err := at(p)
		return err == nil && reached >= end
	}
	return nil
}

// tableError tells apart what another list of the tables mends and what only
// people can.
func (k *Keyed) tableError(t *keyedTable, err error) error {
	switch dial.SQLState(err) {
	case undefinedTable, undefinedColumn, undefinedSchema:
		return entrain.Retryable(err)
	case dial.StateNoPrivilege:
		return t.leafFor().refused(err, k.sess.user)
	}
	return err
}

// readError names what only people can mend.
func (t *keyedTable) readError(err error, limit int) error {
	if errors.Is(err, errTooLarge) {
		return stopTooLarge(t.shape, limit)
	}
	if stop := stopUntranslatable(t.shape, err); stop != nil {
		return stop
	}
	return dial.Classify(err)
}

// conditionEnd is what comes behind a condition of somebody's: it may end with a
// comment.
const conditionEnd = "\n)"

// withoutOurs is the server's error without what it quotes of our statement behind
// such a condition, which may have no end of its own.
func withoutOurs(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	at := strings.LastIndex(refused.Message, conditionEnd)
	if at < 0 {
		return err
	}
	own := *refused
	own.Message = own.Message[:at] + `"`
	return &own
}

// copySQL sends the rows of the query.
func (t *keyedTable) copySQL(q entrain.ChunkQuery, limit int) string {
	var where []string
	if t.filter != "" {
		where = append(where, "("+t.filter+")")
	}
	if q.Where != "" {
		where = append(where, "("+q.Where+conditionEnd)
	}
	switch {
	case q.Of != nil:
		where = append(where, "("+t.key.is(q.Of)+")")
	case q.After != nil:
		where = append(where, "("+t.key.behind(q.After)+")")
	}
	names := make([]string, len(t.shape.Columns))
	for i, column := range t.shape.Columns {
		names[i] = column.Name
	}
	sql := "COPY (SELECT " + sqltext.Idents(names) + " FROM " + t.source()
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql + " ORDER BY " + t.key.order() + " LIMIT " + strconv.Itoa(limit) + ") TO STDOUT"
}
