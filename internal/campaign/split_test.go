package campaign

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// split is a way in which transactions come to the sink together or in parts.
type split struct {
	name string
	// bytes is the engine's batch size.
	bytes int
	// live delivers each transaction before the next one is committed, so that
	// it is a batch of its own; else all are there before the first is read.
	live bool
	// pieces is of how many events the parts of a transaction are that come
	// to the sink one by one; 0: it comes whole. Only live transactions can be
	// taken apart from outside, since only the last one's end has a position.
	pieces int
}

var splits = []split{
	{name: "all at once", bytes: 64 << 20},
	{name: "batches of one byte", bytes: 1},
	{name: "one transaction at a time", bytes: 1, live: true},
	{name: "single events", bytes: 1, live: true, pieces: 1},
	{name: "three events at a time", bytes: 1, live: true, pieces: 3},
}

// splitCase is a schema and random transactions on it, some of which the source
// itself refuses.
type splitCase struct {
	schema string
	tables []string
	next   func(r *rand.Rand) string
	count  int
	// whole, if set, returns transactions whose statements are right only as
	// a whole (rows that refer to later ones, checked at the statement's end);
	// they are left out where events come one by one.
	whole func(r *rand.Rand) string
}

// run sends the same transactions through every split, on one server.
func (c splitCase) run(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			srv := pgtest.Start(t, major, nil)
			for _, sp := range splits {
				t.Run(sp.name, func(t *testing.T) { c.through(t, srv, sp) })
			}
		})
	}
}

// through runs the case with one split and compares both sides.
func (c splitCase) through(t *testing.T, srv *pgserver.Server, sp split) {
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), name: pgtest.Name(t)}
	for _, url := range []string{s.source, s.target} {
		pgtest.Exec(t, url, c.schema, "CREATE TABLE marker (id bigint PRIMARY KEY)")
	}
	run := runPipeline(t, s, sp)
	if !sp.live {
		run.stop(t)
	}
	accepted := c.write(t, s, sp)
	if !sp.live {
		run = runPipeline(t, s, sp)
	}
	if err := s.settleOr(t.Context(), run.result, patience); err != nil {
		t.Fatal(err)
	}
	counts := run.pipeline.Status().Counts
	run.stop(t)
	found, err := differing(t.Context(), s, c.tables)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
	if accepted < c.count/4 {
		t.Errorf("only %d of %d transactions were accepted at the source", accepted, c.count)
	}
	t.Logf("%d transactions: %v", accepted, counts)
}

// write commits the case's transactions and returns how many the source took.
func (c splitCase) write(t *testing.T, s site, sp split) int {
	t.Helper()
	conn := pgtest.Connect(t, s.source)
	rng := rand.New(rand.NewPCG(seedOr(t, 11), 12))
	accepted := 0
	count := c.count
	if wide() {
		count *= 10
	}
	for range count {
		body := c.next(rng)
		if c.whole != nil && sp.pieces == 0 && rng.IntN(3) == 0 {
			body += c.whole(rng)
		}
		if _, err := conn.Exec(t.Context(), "BEGIN;\n"+body+"COMMIT").ReadAll(); err != nil {
			rollback(t, conn)
			continue
		}
		accepted++
		if sp.live {
			wait(t.Context(), 2*time.Millisecond)
		}
	}
	return accepted
}

func rollback(t *testing.T, conn *pgconn.PgConn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "ROLLBACK").ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// running is a pipeline in this process.
type running struct {
	pipeline *pipeline.Pipeline
	result   chan error
	cancel   context.CancelFunc
}

func runPipeline(t *testing.T, s site, sp split) *running {
	t.Helper()
	o := options(t, s)
	o.BatchBytes = sp.bytes
	if sp.pieces > 0 {
		o.Source = &piecemeal{Source: o.Source, pieces: sp.pieces}
	}
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{pipeline: p, result: make(chan error, 1), cancel: cancel}
	go func() { r.result <- p.Run(ctx) }()
	t.Cleanup(cancel)
	pgtest.Eventually(t, patience, "streaming", func() bool { return p.Status().Phase == "streaming" })
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		t.Fatal(err)
	}
}

// piecemeal hands single transactions to the engine in parts, as the source
// does with large ones.
type piecemeal struct {
	entrain.Source
	pieces int
}

// Open implements entrain.Source.
func (p *piecemeal) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	r, err := p.Source.Open(ctx, from)
	if err != nil {
		return nil, err
	}
	return &piecemealReader{Reader: r, pieces: p.pieces}, nil
}

type piecemealReader struct {
	entrain.Reader
	pieces int
	rest   *entrain.Batch
}

// Read implements entrain.Reader.
func (r *piecemealReader) Read(ctx context.Context) (*entrain.Batch, error) {
	if r.rest == nil {
		b, err := r.Reader.Read(ctx)
		if err != nil {
			return nil, err
		}
		r.rest = b
	}
	b := r.rest
	n := len(b.Events)
	if n <= r.pieces || b.Events[0].Tx != b.Events[n-1].Tx {
		r.rest = nil
		return b, nil
	}
	part := &entrain.Batch{Events: b.Events[:r.pieces], Bytes: 1}
	r.rest = &entrain.Batch{Events: b.Events[r.pieces:], Through: b.Through, Bytes: b.Bytes, Free: b.Free}
	return part, nil
}
