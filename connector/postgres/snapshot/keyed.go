package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// KeyedConfig says what a [Keyed] session reads.
type KeyedConfig struct {
	// Server is the configuration of the session.
	Server *pgconn.Config
	// Publications say what of the tables is read, Wants chooses among them, Kind
	// says how values of a type read.
	Publications []string
	Wants        func(schema, name string) bool
	Kind         func(typ string) entrain.Kind
	// MaxRow is the largest row that is taken into memory, in bytes.
	MaxRow int
	// Beat is a statement that makes the stream move its position behind it. At
	// returns where in the log a position stands.
	Beat string
	At   func(p entrain.Position) (uint64, error)
	// Open lists transactions that are open, for people.
	Open func(ctx context.Context, conn *pgconn.PgConn) []string
	Log  *slog.Logger
}

// Keyed reads tables by their keys, in chunks, each in a view of its own. It
// implements [entrain.ChunkSession]. Once its connection has failed, every call
// does, retryably: a new session is opened then.
type Keyed struct {
	cfg    KeyedConfig
	sess   *session
	log    walPages
	tables map[string]*keyedTable // as they were last found; nil: never
	spec   Config                 // for the catalog
	over   error
}

const (
	// keyedLockTimeout is how long a chunk waits for its table.
	keyedLockTimeout = 5 * time.Second
	// keyedBytes is about how much a chunk holds at most (P6).
	keyedBytes = 16 << 20
)

// OpenKeyed opens a session. ctx bounds that only. A standby is a named stop.
func OpenKeyed(ctx context.Context, cfg KeyedConfig) (*Keyed, error) {
	conn, err := dial.Connect(ctx, keyedServer(cfg.Server))
	if err != nil {
		return nil, err
	}
	k := &Keyed{cfg: cfg, sess: &session{conn: conn, user: cfg.Server.User, lasting: context.WithoutCancel(ctx)}}
	k.sess.frames.conn = conn.Conn()
	if err := k.meet(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// keyedServer makes the server read along the index, whatever it thinks of that:
// what has to be sorted first is read as a whole for each chunk. Commits wait for
// no standby.
func keyedServer(base *pgconn.Config) *pgconn.Config {
	cfg := base.Copy()
	cfg.DialFunc = dial.Direct(cfg.DialFunc)
	for _, name := range []string{"row_security", "jit", "enable_seqscan", "enable_bitmapscan", "enable_sort"} {
		cfg.RuntimeParams[name] = "off"
	}
	cfg.RuntimeParams["max_parallel_workers_per_gather"] = "0"
	cfg.RuntimeParams["synchronous_commit"] = "local"
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(keyedLockTimeout.Milliseconds(), 10)
	return cfg
}

// meet finds out what server this is.
func (k *Keyed) meet(ctx context.Context) error {
	rows, err := k.ask(ctx, `SELECT current_setting('server_version_num'), pg_is_in_recovery()::text,
		current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size'))::text`)
	if err != nil {
		return fmt.Errorf("examine %s: %w", dial.ServerName(k.cfg.Server), err)
	}
	r := rows[0]
	if r[1] == "true" {
		return stopChunksOnStandby(dial.ServerName(k.cfg.Server))
	}
	k.log = walPages{page: uint64(integer(r[2])), segment: uint64(integer(r[3]))}
	k.spec = Config{Version: int(integer(r[0])), Publications: k.cfg.Publications, Wants: k.cfg.Wants, Kind: k.cfg.Kind}
	return nil
}

// Tables implements [entrain.ChunkSession].
func (k *Keyed) Tables(ctx context.Context) ([]entrain.ChunkTable, error) {
	if k.over != nil {
		return nil, k.over
	}
	list, err := k.list(ctx)
	if err != nil {
		return nil, k.failed(fmt.Errorf("list the tables to read by key: %w", err))
	}
	return list, nil
}

// The plans that are right for chunks are wrong for the catalog, all of which is
// read: anyPlanSQL lets the planner choose in a transaction, ownPlanSQL takes that
// back.
const (
	anyPlanSQL = "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on"
	ownPlanSQL = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
)

func (k *Keyed) list(ctx context.Context) ([]entrain.ChunkTable, error) {
	if _, err := k.ask(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "+anyPlanSQL); err != nil {
		return nil, err
	}
	c := k.catalog()
	tables, err := c.keyed(ctx)
	var sorted []*table
	if err == nil {
		for _, t := range tables {
			sorted = append(sorted, &t.table)
		}
		slices.SortFunc(sorted, byName)
		err = c.tied(ctx, sorted)
	}
	if err := errors.Join(err, k.end(ctx)); err != nil {
		return nil, err
	}
	k.keep(tables)
	list := make([]entrain.ChunkTable, len(sorted))
	for i, t := range sorted {
		list[i] = entrain.ChunkTable{Table: t.shape, Rows: t.analysedRows(), Group: t.group, Refused: tables[t.oid].refused,
			Definition: t.definition, Chosen: t.chosen()}
	}
	return list, nil
}

// tied reads how the tables are made and which references tie them together.
func (c catalog) tied(ctx context.Context, tables []*table) error {
	edges, err := c.references(ctx, tables)
	if err != nil {
		return fmt.Errorf("read foreign keys: %w", err)
	}
	tie(tables, edges)
	return c.define(ctx, tables)
}

// keep remembers what the tables are now, and what their rows are like.
func (k *Keyed) keep(tables map[string]*keyedTable) {
	for oid, t := range tables {
		if before := k.tables[oid]; before != nil {
			t.width = before.width
		}
	}
	k.tables = tables
}

func (k *Keyed) catalog() catalog { return catalog{k.spec, k.sess.conn, pagesAnalysed} }

// Close implements [entrain.ChunkSession].
func (k *Keyed) Close() error {
	if k.over == nil {
		k.over = fmt.Errorf("the session is closed: %w", net.ErrClosed)
	}
	k.sess.leave()
	k.sess.settle()
	return nil
}

// ask executes statements without parameters and returns the rows of the last one
// that can have any.
func (k *Keyed) ask(ctx context.Context, sql string) ([][]string, error) {
	all, err := k.askAll(ctx, sql)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[len(all)-1], nil
}

// askAll executes statements and returns the rows of each that can have any.
func (k *Keyed) askAll(ctx context.Context, sql string) ([][][]string, error) {
	results, err := k.sess.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, dial.Classify(err)
	}
	var all [][][]string
	for _, result := range results {
		if !result.CommandTag.Select() {
			continue
		}
		rows := make([][]string, len(result.Rows))
		for i, values := range result.Rows {
			for _, v := range values {
				rows[i] = append(rows[i], string(v))
			}
		}
		all = append(all, rows)
	}
	return all, nil
}

// end ends the transaction if there is one.
func (k *Keyed) end(ctx context.Context) error {
	if k.sess.conn.IsClosed() || k.sess.conn.TxStatus() == 'I' {
		return nil
	}
	_, err := k.ask(ctx, "ROLLBACK")
	return err
}

// failed ends the transaction that an error leaves, and the session if that cannot
// go on.
func (k *Keyed) failed(err error) error {
	ctx, cancel := context.WithTimeout(k.sess.lasting, dial.CloseTimeout)
	defer cancel()
	if k.over != nil {
		return err
	}
	if k.end(ctx) == nil && !k.sess.conn.IsClosed() {
		return err
	}
	return k.lost(err)
}

// lost ends the session.
func (k *Keyed) lost(err error) error {
	k.over = fmt.Errorf("%w: the session that reads by key has ended", entrain.ErrDisconnected)
	k.sess.end()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, entrain.ErrDisconnected) {
		return err
	}
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		return err
	}
	return fmt.Errorf("%w: %w", entrain.ErrDisconnected, err)
}
