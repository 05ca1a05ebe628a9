package campaign

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// load is what writes at the source: several sessions with transactions over
// several tables. A session that is cut or refused goes on; what it wrote is
// told by the source itself, not by the session.
type load struct {
	url    string
	seed   uint64
	pace   time.Duration // between two transactions of a writer
	bulk   time.Duration // between two transactions of bulkRows; 0: none
	rows   int           // of such a transaction
	writes int           // sessions
	keeps  bool          // no table is truncated
	broad  int           // sessions more, whose transactions touch nothing in common
	follow string        // the target, if nobody is to write on while that is far behind

	committed, failed atomic.Int64 // transactions, and texts that were refused
	slots, ledger     brake
	cancel            func()
	sessions          sync.WaitGroup
}

// window is how long transactions with tables that the target applies row by
// row are written and left out, in turn: one such row makes its whole batch go
// that way, and both ways are to be tested.
const window = 2 * time.Second

// start starts the sessions. They end by stop, or with the test.
func (l *load) start(t testing.TB) {
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	l.cancel = func() {
		wait(ctx, time.Until(began.Add(2*window)))
		cancel()
	}
	t.Cleanup(l.stop)
	for i := range l.writes {
		rng := rand.New(rand.NewPCG(l.seed, uint64(i)))
		l.sessions.Go(func() {
			l.session(ctx, l.pace, func() string {
				l.ledger.wait(ctx, l.farBehind)
				return l.transaction(rng)
			})
		})
	}
	for i := range l.broad {
		turn := 0
		l.sessions.Go(func() {
			l.session(ctx, 4*l.pace, func() string {
				l.slots.wait(ctx, l.heldLog)
				turn++
				return broadTransactions(i, turn)
			})
		})
	}
	if l.bulk > 0 {
		turn := 0
		l.sessions.Go(func() {
			l.session(ctx, l.bulk, func() string {
				l.slots.wait(ctx, l.heldLog)
				l.ledger.wait(ctx, l.farBehind)
				turn++
				return l.bulkTransaction(turn)
			})
		})
	}
}

// stop ends the sessions, once both kinds of transactions were written, and returns when
// they are gone.
func (l *load) stop() {
	l.cancel()
	l.sessions.Wait()
}

// A campaign that kills for an hour would end with a backlog of an hour, and say nothing
// about liveness, if nobody waited for the pipeline.
const (
	// mostBehind is how much of the log may wait for the slowest slot of a pipeline while
	// large transactions, or many, are written, in bytes.
	mostBehind = 256 << 20
	// mostTransfers is by how many transfers of the ledger a target may be behind that is
	// followed.
	mostTransfers = 3000
)

// brake makes sessions wait while something is far behind. It looks once a second.
type brake struct {
	mu   sync.Mutex
	fine time.Time // when it was not
}

func (b *brake) wait(ctx context.Context, far func(context.Context) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.fine) < time.Second {
		return
	}
	for ctx.Err() == nil && far(ctx) {
		wait(ctx, time.Second)
	}
	b.fine = time.Now()
}

// heldLog reports whether a slot holds much of the log, or that is not known, since the
// server is down.
func (l *load) heldLog(ctx context.Context) bool {
	const behind = `SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)), 0)::bigint
FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE 'entrain%'`
	n, err := number(ctx, l.url, behind)
	return err != nil || n > mostBehind
}

// transfersSQL counts the transfers of the ledger.
const transfersSQL = "SELECT coalesce(sum(n), 0)::bigint FROM ledger_seq"

// farBehind reports whether the target that is followed lacks many transfers, or that is
// not known.
func (l *load) farBehind(ctx context.Context) bool {
	if l.follow == "" {
		return false
	}
	there, err := number(ctx, l.follow, transfersSQL)
	if err != nil {
		return true
	}
	here, err := number(ctx, l.url, transfersSQL)
	return err != nil || here-there > mostTransfers
}

// number is the one that a query returns.
func number(ctx context.Context, url, sql string) (int64, error) {
	rows, err := query(ctx, url, sql)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(rows[0][0], 10, 64)
}

// session runs transactions until ctx ends. One that is under way then is
// finished, so that what it did is settled.
func (l *load) session(ctx context.Context, pace time.Duration, next func() string) {
	work := context.WithoutCancel(ctx)
	var conn *pgconn.PgConn
	defer func() {
		if conn != nil {
			conn.Close(work)
		}
	}()
	for ; ctx.Err() == nil; wait(ctx, pace) {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgconn.Connect(ctx, l.url); err != nil {
				conn = nil
				wait(ctx, 50*time.Millisecond)
				continue
			}
		}
		sql := next()
		if _, err := conn.Exec(work, sql).ReadAll(); err != nil {
			l.failed.Add(1)
			_, _ = conn.Exec(work, "ROLLBACK").ReadAll() // a session that was cut has no transaction
			continue
		}
		l.committed.Add(int64(max(1, strings.Count(sql, "COMMIT"))))
	}
}

// transaction returns the text of one transaction.
func (l *load) transaction(r *rand.Rand) string {
	bodies := []string{}
	strict := time.Now().UnixNano()/int64(window)%2 == 0
	switch k := r.IntN(20); {
	case k < 5:
		bodies = append(bodies, transfer(r))
	case k < 7:
		bodies = append(bodies, transfer(r), chainSteps(r))
	case k < 11:
		bodies = append(bodies, chainSteps(r))
	case k < 12:
		bodies = append(bodies, chainRenew(r))
	case k < 13:
		bodies = append(bodies, chainLeave(r), chainReturn(r))
	case k < 14:
		bodies = append(bodies, moveKeys(r))
	case k < 15:
		bodies = append(bodies, scratch(r, truncating(!l.keeps)))
	case k < 16:
		return "BEGIN;\n" + transfer(r) + chainSteps(r) + "ROLLBACK"
	case k < 17:
		bodies = append(bodies, chainSteps(r), "SAVEPOINT s;\n"+chainSteps(r)+moveKeys(r)+"ROLLBACK TO s;\n", moveKeys(r))
	case strict && k < 18:
		bodies = append(bodies, transfer(r), steps(r), ticks(r), chainSteps(r))
	}
	if strict {
		bodies = append(bodies, ticks(r), steps(r))
	}
	if len(bodies) == 0 {
		bodies = append(bodies, transfer(r))
	}
	return "BEGIN;\n" + strings.Join(bodies, "") + "COMMIT"
}

// transfer numbers the journal densely: the lock on the one row makes the
// numbers' order that of the commits.
func transfer(r *rand.Rand) string {
	from, to, amount := r.IntN(accountTables), r.IntN(accountTables), 1+r.IntN(50)
	giver, taker := 1+r.IntN(accountsPer), 1+r.IntN(accountsPer)
	return fmt.Sprintf(`UPDATE ledger_seq SET n = n + 1;
UPDATE %[1]s SET balance = balance - %[5]d WHERE id = %[2]d;
UPDATE %[3]s SET balance = balance + %[5]d WHERE id = %[4]d;
INSERT INTO journal SELECT n, '%[1]s/%[2]d', '%[3]s/%[4]d', %[5]d FROM ledger_seq;
`, account(from), giver, account(to), taker, amount)
}

// nextLink continues the hash chain of the rows of a statement.
const nextLink = "n = n + 1, payload = '%[1]s' || id, h = sha256(h || convert_to('%[1]s' || id, 'UTF8'))"

func payload(r *rand.Rand) string { return fmt.Sprintf("p%x ", r.Uint32()) }

// chainSteps leaves the large column as it is, so that the log does not carry
// it; now and then it changes, too.
func chainSteps(r *rand.Rand) string {
	first := 1 + r.IntN(chainKeys)
	set := fmt.Sprintf(nextLink, payload(r))
	if r.IntN(20) == 0 {
		set += ", big = noise(4800)"
	}
	return fmt.Sprintf(`WITH done AS (UPDATE chain SET %s WHERE id BETWEEN %d AND %d RETURNING id, n, payload)
INSERT INTO chain_log SELECT id, n, payload FROM done;
`, set, first, first+r.IntN(8))
}

// chainRenew deletes a row and inserts its successor in one transaction.
func chainRenew(r *rand.Rand) string {
	return fmt.Sprintf(`WITH old AS (DELETE FROM chain WHERE id = %[2]d RETURNING *),
new AS (INSERT INTO chain SELECT id, n + 1, sha256(h || convert_to('%[1]s', 'UTF8')), '%[1]s', big FROM old RETURNING id, n, payload)
INSERT INTO chain_log SELECT id, n, payload FROM new;
`, payload(r), 1+r.IntN(chainKeys))
}

// chainLeave and chainReturn move rows between two tables, so that keys are
// gone for a while.
func chainLeave(r *rand.Rand) string {
	return fmt.Sprintf("WITH old AS (DELETE FROM chain WHERE id = %d RETURNING *) INSERT INTO chain_gone SELECT * FROM old;\n", 1+r.IntN(chainKeys))
}

func chainReturn(*rand.Rand) string {
	return `WITH old AS (DELETE FROM chain_gone WHERE id IN (SELECT id FROM chain_gone ORDER BY random() LIMIT 1) RETURNING *)
INSERT INTO chain SELECT * FROM old;
`
}

// moveKeys gives rows new keys and leaves the large column as it is.
func moveKeys(r *rand.Rand) string {
	return fmt.Sprintf("UPDATE moved SET id = nextval('moved_seq'), tag = 'tag %x' WHERE id IN (SELECT id FROM moved ORDER BY random() LIMIT %d);\n",
		r.Uint32(), 1+r.IntN(4))
}

// truncating says whether the scratch table is emptied now and then.
type truncating bool

func scratch(r *rand.Rand, truncates truncating) string {
	fill := "INSERT INTO scratch SELECT nextval('scratch_seq'), 'x' FROM generate_series(1, 10);\n"
	if truncates && r.IntN(3) == 0 {
		return "TRUNCATE scratch;\n" + fill
	}
	return fill
}

const tickKeys = 500

// ticks give each change of a row a number of its own.
func ticks(r *rand.Rand) string {
	first := 1 + r.IntN(tickKeys)
	keys := fmt.Sprintf("BETWEEN %d AND %d", first, first+r.IntN(10))
	switch r.IntN(4) {
	case 0:
		return "DELETE FROM tick WHERE id " + keys + ";\n"
	case 1:
		return "UPDATE tick SET change_id = nextval('change_seq'), v = md5(v) WHERE id " + keys + ";\n"
	default:
		return fmt.Sprintf("INSERT INTO tick SELECT nextval('change_seq'), i, 'v' FROM generate_series(1, %d) i WHERE i %s AND NOT EXISTS (SELECT 1 FROM tick WHERE id = i) ON CONFLICT DO NOTHING;\n",
			tickKeys+10, keys)
	}
}

func steps(r *rand.Rand) string {
	first := 1 + r.IntN(stepKeys)
	return fmt.Sprintf("UPDATE step SET change_id = nextval('change_seq'), "+nextLink+" WHERE id BETWEEN %[2]d AND %[3]d;\n",
		payload(r), first, first+r.IntN(5))
}

// broadTransactions are many small ones of a session, which touch nothing in common: they
// insert rows of its own, and delete them the next time.
func broadTransactions(session, turn int) string {
	var text strings.Builder
	for first := 1000 * session; first < 1000*session+100; first += 5 {
		if turn%2 == 1 {
			fmt.Fprintf(&text, "BEGIN; INSERT INTO broad SELECT i, 'x' FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING; COMMIT;\n", first, first+4)
		} else {
			fmt.Fprintf(&text, "BEGIN; DELETE FROM broad WHERE id BETWEEN %d AND %d; COMMIT;\n", first, first+4)
		}
	}
	return text.String()
}

// bulkTransaction inserts, updates and deletes many rows in turn. Some stay, so that
// updates do not grow with the campaign's length.
func (l *load) bulkTransaction(turn int) string {
	switch turn % 3 {
	case 1:
		return fmt.Sprintf("INSERT INTO bulk SELECT nextval('bulk_seq'), md5(i::text), 0 FROM generate_series(1, %d) i", l.rows)
	case 2:
		return "UPDATE bulk SET n = n + 1, v = md5(v)"
	}
	return fmt.Sprintf("DELETE FROM bulk WHERE id < (SELECT max(id) FROM bulk) - %d", l.rows/4)
}

// settle writes a last row at the source and waits until it is at the target:
// everything before it is there, too (P9).
func (s site) settle(ctx context.Context, within time.Duration) error {
	rows, err := query(ctx, s.source, "INSERT INTO marker SELECT coalesce(max(id), 0) + 1 FROM marker RETURNING id")
	if err != nil {
		return err
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := query(ctx, s.target, "SELECT count(*) FROM marker WHERE id = "+rows[0][0])
		if err == nil && got[0][0] == "1" {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("the last row is not at the target %s after the faults ended", within)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
