package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Config says what view to read, and what of it.
type Config struct {
	// Server is the configuration of sessions with the server that exports.
	Server *pgconn.Config
	// Version of the server as a number, 150018.
	Version int
	// Exported names the view. Whoever exported it has to keep it until Taken
	// is called.
	Exported string
	Taken    func()
	// Stream and From are those of the snapshot's point. Transactions whose
	// commit record begins before At are in the view, no others.
	Stream *entrain.Stream
	From   entrain.Position
	At     uint64
	// Publications say what of the tables is read; with Unpublished they do not
	// exist yet, and all of each table is.
	Publications []string
	Unpublished  bool
	// Wants chooses among the tables, Kind says how values of a type read.
	Wants func(schema, name string) bool
	// Named chooses the views and the like that are copied, too; nil: none.
	Named func(schema, name string) bool
	Kind  func(typ string) entrain.Kind
	// PartRows is about how many rows a part has; 0: 50,000.
	PartRows int
	// MaxRow is the largest row that is taken into memory, in bytes.
	MaxRow int
}

const defaultPartRows = 50_000

// Snapshot implements entrain.Snapshot.
type Snapshot struct {
	cfg    Config
	point  entrain.SnapshotPoint
	tables []*table
	list   []entrain.SnapshotTable
	pool   chunkPool

	holder *pgconn.PgConn
	name   string // of the holder's view, which the others take over
	view   string // what is visible in it

	closed context.Context // ends with Close
	end    context.CancelFunc
	busy   sync.WaitGroup // sessions that are being opened

	mu   sync.Mutex
	idle []*session          // between two parts
	used map[*session]string // by a reader, and for which table
	over bool                // Close was called
}

// Open takes the exported view over and finds out what there is to read. ctx
// bounds that only.
func Open(ctx context.Context, cfg Config) (*Snapshot, error) {
	if cfg.PartRows <= 0 {
		cfg.PartRows = defaultPartRows
	}
	s := &Snapshot{cfg: cfg, pool: newChunkPool(), used: make(map[*session]string)}
	s.closed, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Snapshot) open(ctx context.Context) (err error) {
	if s.holder, err = dial.Connect(ctx, s.holderConfig()); err != nil {
		return err
	}
	took, err := s.hold(ctx)
	s.cfg.Taken()
	if err != nil {
		return fmt.Errorf("take the snapshot over: %w", err)
	}
	s.point = entrain.SnapshotPoint{Stream: s.cfg.Stream, Version: s.cfg.At - 1, Time: took, From: s.cfg.From}
	if s.tables, err = s.catalog().read(ctx); err != nil {
		return err
	}
	if len(s.tables) > maxTables {
		return fmt.Errorf("%d tables in one snapshot, at most %d", len(s.tables), maxTables)
	}
	for _, t := range s.tables {
		s.list = append(s.list, entrain.SnapshotTable{
			Table: t.shape, Rows: t.rows(), Parts: max(len(t.parts), 1), Group: t.group, Definition: t.definition,
			Chosen: t.chosen(),
		})
	}
	return s.samePublications(ctx)
}

// hold makes the holder's transaction and exports its view.
func (s *Snapshot) hold(ctx context.Context) (time.Time, error) {
	results, err := s.holder.Exec(ctx, beginIn(s.cfg.Exported)+
		"SELECT pg_export_snapshot(), pg_current_snapshot()::text, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").ReadAll()
	if err != nil {
		return time.Time{}, goneError(dial.Classify(err))
	}
	row := results[len(results)-1].Rows[0]
	s.name, s.view = string(row[0]), string(row[1])
	micros, err := strconv.ParseInt(string(row[2]), 10, 64)
	return time.UnixMicro(micros), err
}

// beginIn is the SQL that begins a transaction in an exported view.
func beginIn(name string) string {
	return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + sqltext.Literal(name) + "; "
}

// holderConfig is the configuration of the session that keeps the view and reads
// the catalog. Rows that the role may not see are an error and no omission.
func (s *Snapshot) holderConfig() *pgconn.Config {
	cfg := s.cfg.Server.Copy()
	cfg.RuntimeParams["row_security"] = "off"
	return cfg
}

// workerConfig is that of a session that reads parts: by their ranges, in the
// order in which the rows lie in the table, so that they are the same each time.
func (s *Snapshot) workerConfig() *pgconn.Config {
	cfg := s.holderConfig()
	cfg.DialFunc = dial.Direct(cfg.DialFunc)
	for _, name := range []string{"synchronize_seqscans", "jit", "enable_seqscan", "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"} {
		cfg.RuntimeParams[name] = "off"
	}
	cfg.RuntimeParams["max_parallel_workers_per_gather"] = "0"
	return cfg
}

// Point implements entrain.Snapshot.
func (s *Snapshot) Point() entrain.SnapshotPoint { return s.point }

// Tables implements entrain.Snapshot.
func (s *Snapshot) Tables() []entrain.SnapshotTable { return s.list }

// Read implements entrain.Snapshot. A table that was given other storage since
// the snapshot is a retryable error: this snapshot cannot read it any more.
func (s *Snapshot) Read(ctx context.Context, p entrain.SnapshotPart) (entrain.RowReader, error) {
	if p.Table < 0 || p.Table >= len(s.tables) || p.Number < 0 || p.Number >= s.list[p.Table].Parts {
		return nil, fmt.Errorf("the snapshot has no part %d of table %d", p.Number, p.Table)
	}
	t := s.tables[p.Table]
	r := &rowReader{
		snapshot: s, table: t.shape, limit: s.cfg.MaxRow, ordinal: firstOrdinal(p),
		tx: &entrain.Transaction{Stream: s.point.Stream, Version: s.point.Version, CommitTime: s.point.Time},
	}
	if len(t.parts) == 0 { // a partitioned table without partitions
		r.ended = true
		return r, nil
	}
	part := t.parts[p.Number]
	sess, err := s.take(ctx, t.shape.String())
	if err == nil {
		r.sess, r.part = sess, part
		if err = sess.start(ctx, s, part); err != nil {
			s.release(sess)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read part %d of table %s: %w", p.Number, t.shape, err)
	}
	return r, nil
}

// Close implements entrain.Snapshot. Readers that are open fail from then on.
func (s *Snapshot) Close() error {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.end()
	s.busy.Wait()
	s.mu.Lock()
	used := slices.Collect(maps.Keys(s.used))
	idle := s.idle
	holder := s.holder
	s.idle, s.holder = nil, nil
	s.mu.Unlock()
	for _, sess := range used {
		sess.end()
	}
	var wg sync.WaitGroup
	for _, sess := range idle {
		wg.Go(sess.leave)
	}
	if holder != nil {
		dial.Close(s.closed, holder)
	}
	wg.Wait()
	return nil
}

// errClosed is what readers of a closed snapshot get.
var errClosed = fmt.Errorf("the snapshot is closed: %w", net.ErrClosed)
