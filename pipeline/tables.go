package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

// tables follows the tables that are not simply streaming, through the sessions
// of a pipeline. Three goroutines meet here: the reading one asks what becomes
// of each event, the writing one tells what is durable, and one that reads
// chunks; besides, people give orders. All of it is guarded by mu.
type tables struct {
	p     *Pipeline
	store TableStore  // nil: tables cannot be ordered about
	some  atomic.Bool // there are lives

	adding sync.Mutex // held while a table is added, and while a session asks what there is; before mu

	mu      sync.Mutex
	loaded  bool
	lives   map[tableName]*life
	groups  map[tableName]int       // of tables that references tie to others
	tied    map[int]bool            // groups with a table that is not simply streaming
	sources map[tableName]tableName // by their names for the sink, of tables that were seen and have another there
	seen    *entrain.Table          // the last of them
	at      entrain.Position        // the last that was read in this session, or where it began
	open    bool                    // the stream stands inside a transaction
	version uint64                  // of the last transaction that was read
	rows    uint64                  // that were read in chunks, from where this process began to count
	stream  *entrain.Stream
	flying  []flight      // rows that are on their way to the sink, in order
	changed chan struct{} // closed and replaced when a waiter may go on
	waiting int           // how many wait for that
	restart bool          // the session has to be opened anew
	relays  bool          // the sink leads doubles on: it has none itself

	leads map[tableName]*life // of the batch that was routed last, to doubles; of the reading goroutine

	owed  bool // what the lives say now could not be saved
	drops bool // the sink may have doubles that no table needs any more

	discovered bool               // of the caller of Run: tables were looked for
	met        map[tableName]bool // tables that this was done for
}

// life is a table's, in this process.
type life struct {
	TableLife
	sink     tableName      // its name for the sink
	copy     *backfill.Copy // nil between sessions
	begun    bool           // of one that is made anew: the sink has an empty double
	doubled  bool           // the sink may have a double
	over     bool           // its last rows are on their way: what comes behind them is the table's own
	unmade   bool           // of one that was just added: the sink may lack the table
	settled  bool           // every transaction that the stream may lack of it has ended
	crowded  bool           // since the last barrier began, copy has forgotten what it saw
	rows     int            // of the next chunk
	discards int            // of copy, when it was last looked at
	again    time.Time      // not before that, after a chunk was discarded or could not be read
	delays   backoff        // of the latter
	doubles  map[*entrain.Table]*entrain.Table
}

// flight is a batch of rows between the stream and the sink.
type flight struct {
	batch *entrain.Batch
	life  *life
	copy  *backfill.Copy
	tx    entrain.Transaction
	last  bool                // the table has all its rows behind it
	drops bool                // of no table: what came before is the last of doubles that are given up
	leads map[tableName]*life // to the double that its events go to; nil: to the table itself
}

// ordinalsOfOne is below which a process begins to count the events of copies: two are not
// to give the same ids to different ones.
const ordinalsOfOne = 1 << 61

func newTables(p *Pipeline) *tables {
	t := &tables{p: p, rows: rand.Uint64N(ordinalsOfOne), lives: map[tableName]*life{}, sources: map[tableName]tableName{}, groups: map[tableName]int{}, tied: map[int]bool{}, met: map[tableName]bool{}, changed: make(chan struct{})}
	t.store, _ = p.opt.Store.(TableStore)
	return t
}

// load reads what earlier runs have left, once.
func (t *tables) load(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loaded || t.store == nil {
		return nil
	}
	lives, err := t.store.LoadTables(ctx)
	if err != nil {
		return err
	}
	for _, l := range lives {
		t.lives[tableName{l.Schema, l.Name}] = &life{TableLife: l}
	}
	t.loaded = true
	t.some.Store(len(t.lives) > 0)
	return nil
}

// begin prepares a session: what the one before had under way is forgotten.
func (t *tables) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flying, t.open, t.restart, t.drops, t.at = nil, false, false, false, entrain.Position{}
	for _, l := range t.lives {
		l.leave()
	}
	t.signal()
}

// close ends a session: nothing of the stream is under way any more.
func (t *tables) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.flying = false, nil
	for _, l := range t.lives {
		l.over = false
	}
	t.signal()
}

// follow notes the history that the session's events are of, and where it begins.
func (t *tables) follow(stream *entrain.Stream, from entrain.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stream, t.at = stream, from
}

// stands returns the position at which the stream stands between two transactions;
// zero inside one.
func (t *tables) stands() entrain.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		return entrain.Position{}
	}
	return t.at
}

// leave drops what belongs to a session.
func (l *life) leave() {
	l.copy, l.settled, l.over, l.doubles = nil, false, false, nil
	l.begun = l.Anew && !l.Ending && (l.Copy.After != nil || l.Copy.Finished)
	if l.Anew && !l.begun {
		l.Copy = backfill.Progress{} // it begins with an empty double
	}
}

// signal wakes everybody who waits; mu is held.
func (t *tables) signal() {
	close(t.changed)
	t.changed = make(chan struct{})
	t.some.Store(len(t.lives) > 0)
	clear(t.tied)
	for name := range t.lives {
		if g := t.groups[name]; g != 0 {
			t.tied[g] = true
		}
	}
}

// await waits, with mu held, until the condition holds or ctx ends. It may be one about
// where the stream stands.
func (t *tables) await(ctx context.Context, holds func() bool) error {
	t.waiting++
	defer func() { t.waiting-- }()
	return t.watch(ctx, holds)
}

// watch does the same for a condition about lives alone.
func (t *tables) watch(ctx context.Context, holds func() bool) error {
	for !holds() {
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		t.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// reopen has the session opened anew: the source's stream is to have a table that
// it did not have when it began.
func (t *tables) reopen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart = true
	t.signal()
}

// tie takes over which tables references tie together.
func (t *tables) tie(listed []entrain.ChunkTable) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.groups)
	for i := range listed {
		if g := listed[i].Group; g != 0 {
			t.groups[tableName{listed[i].Table.Schema, listed[i].Table.Name}] = g
		}
	}
	t.signal()
}

// save writes down the lives, and the checkpoint with them; mu is held.
func (t *tables) save(ctx context.Context, with *Checkpoint) error {
	var lives []TableLife
	for _, l := range t.lives {
		lives = append(lives, l.TableLife)
	}
	slices.SortFunc(lives, func(a, b TableLife) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	t.owed = true
	if err := t.store.SaveTables(ctx, lives, with); err != nil {
		return fmt.Errorf("save the state of tables: %w", err)
	}
	t.owed = false
	t.drop()
	t.signal()
	return nil
}

// sorted returns the lives by name; mu is held.
func (t *tables) sorted() []*life {
	return slices.SortedFunc(maps.Values(t.lives), func(a, b *life) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
}

// count counts the tables by state.
func (t *tables) count() map[TableState]int {
	if !t.some.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := map[TableState]int{}
	for _, l := range t.lives {
		n[l.State]++
	}
	return n
}

// durable notes which rows the sink has now, and saves how far that brings their
// tables. The checkpoint is of a sink that does not keep the position itself. It
// reports whether the sink may remove doubles that no table needs.
func (t *tables) durable(ctx context.Context, parts []*entrain.Batch, with func() *Checkpoint) (drops bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.flying) == 0 { // what flies may be of an order that was cancelled since: it has to go, too
		return false, nil
	}
	landed := false
	for _, b := range parts {
		for len(t.flying) > 0 && t.flying[0].batch == b {
			f := t.flying[0]
			t.flying = t.flying[1:]
			if f.drops {
				drops = true
				continue
			}
			if f.copy != f.life.copy || f.copy == nil {
				continue // the table was ordered elsewhere meanwhile
			}
			landed = true
			if err := t.land(ctx, f); err != nil {
				return drops, err
			}
		}
	}
	if !landed {
		return drops, nil
	}
	return drops, t.save(ctx, with())
}

// busy reports whether a table is not simply streaming, or rows of one are on their way.
func (t *tables) busy() bool {
	if t.some.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.flying) > 0
}

// land notes that the rows of a flight are durable; mu is held.
func (t *tables) land(ctx context.Context, f flight) error {
	l := f.life
	if !l.Copy.Finished { // else it was the end alone
		l.Copy = f.copy.Applied()
	}
	if !f.last {
		l.settled = l.settled && !l.Copy.Finished // what settles moves the stream, and the end can follow
		return nil
	}
	if err := l.become(TableStreaming, time.Now()); err != nil {
		return err
	}
	t.p.log.Info("table copied", "table", l.Schema+"."+l.Name, "rows", l.Copy.Rows)
	if err := t.enter(ctx, l, f.tx); err != nil {
		return err
	}
	delete(t.lives, tableName{l.Schema, l.Name})
	l.copy = nil
	return nil
}

// enter writes a table into the ledger: it has its rows. A ledger that no first copy
// has completed stays as it is: with tables in it, it would be one that was begun.
func (t *tables) enter(ctx context.Context, l *life, tx entrain.Transaction) error {
	store, keeps := t.p.opt.Store.(LedgerStore)
	if !keeps {
		return nil
	}
	ledger, err := store.LoadLedger(ctx)
	if err != nil || !ledger.Complete || ledger.find(l.Schema, l.Name) != nil {
		return err
	}
	ledger.Tables = append(ledger.Tables, CopiedTable{
		Schema: l.Schema, Name: l.Name, Incarnation: tx.Stream.Incarnation, Version: tx.Version, Rows: l.Copy.Rows,
	})
	return store.SaveLedger(ctx, ledger, nil)
}
