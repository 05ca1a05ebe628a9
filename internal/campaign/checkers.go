package campaign

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// checker looks at a site at rest and reports what is wrong, in words. It
// trusts nothing of entrain's. An error means that it could not look.
type checker struct {
	name string
	find func(ctx context.Context, s site, h *history) ([]string, error)
}

// checkers are all that are used at rest; [watcher] looks meanwhile.
func checkers() []checker {
	return []checker{
		{"rows", differingRows},
		{"chain", brokenChains},
		{"step", brokenSteps},
		{"ledger", func(ctx context.Context, s site, _ *history) ([]string, error) { return wrongLedger(ctx, s.target) }},
		{"applied", wrongApplied},
		{"log", wrongLog},
		{"counts", wrongCounts},
	}
}

// mostFindings is how much of what one checker says is worth reading.
const mostFindings = 8

// verdict is what all checkers say.
func verdict(ctx context.Context, s site, h *history) ([]string, error) {
	var all []string
	for _, c := range checkers() {
		found, err := c.find(ctx, s, h)
		if err != nil {
			return nil, fmt.Errorf("checker %s: %w", c.name, err)
		}
		for _, f := range found[:min(len(found), mostFindings)] {
			all = append(all, c.name+": "+f)
		}
	}
	return all, nil
}

// differingRows compares both sides row by row, as text, in order.
func differingRows(ctx context.Context, s site, _ *history) ([]string, error) {
	return differing(ctx, s, allTables())
}

// differing compares some tables, named as SQL has them: how many rows there are, and the
// sum of 64 bits of each one's hash, which does not need them in an order. It is asked again
// and again while much is still to come.
func differing(ctx context.Context, s site, tables []string) ([]string, error) {
	var found []string
	for _, table := range tables {
		sql := fmt.Sprintf(`SELECT count(*), coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint), 0) FROM %s t`, table)
		source, err := query(ctx, s.source, sql)
		if err != nil {
			return nil, err
		}
		target, err := query(ctx, s.target, sql)
		if err != nil {
			return nil, err
		}
		if source[0][0] != target[0][0] || source[0][1] != target[0][1] {
			found = append(found, fmt.Sprintf("%s: %s rows at the source, %s at the target, or other values", table, source[0][0], target[0][0]))
		}
	}
	return found, nil
}

// brokenChains replays at the target what each key went through: the numbers
// must be dense and the hash of all payloads the one that the row has.
func brokenChains(ctx context.Context, s site, _ *history) ([]string, error) {
	rows, err := query(ctx, s.target, "SELECT id, n, encode(h, 'hex') FROM chain UNION ALL SELECT id, n, encode(h, 'hex') FROM chain_gone ORDER BY id")
	if err != nil {
		return nil, err
	}
	log, err := query(ctx, s.target, "SELECT id, n, payload FROM chain_log ORDER BY id, n")
	if err != nil {
		return nil, err
	}
	var found []string
	hashes := map[string][]byte{}
	numbers := map[string]int64{}
	for _, link := range log {
		id := link[0]
		numbers[id]++
		if link[1] != strconv.FormatInt(numbers[id], 10) {
			found = append(found, fmt.Sprintf("key %s: change %s in the place of change %d", id, link[1], numbers[id]))
			break
		}
		sum := sha256.Sum256(append(hashes[id], link[2]...))
		hashes[id] = sum[:]
	}
	if len(rows) != chainKeys {
		found = append(found, fmt.Sprintf("%d keys; want %d", len(rows), chainKeys))
	}
	for _, row := range rows {
		if n := strconv.FormatInt(numbers[row[0]], 10); row[1] != n {
			found = append(found, fmt.Sprintf("key %s: the row is at change %s, the log at %s", row[0], row[1], n))
		} else if h := fmt.Sprintf("%x", hashes[row[0]]); row[2] != h {
			found = append(found, fmt.Sprintf("key %s: the row's hash is not that of its %s changes", row[0], n))
		}
	}
	return found, nil
}

// brokenSteps asks what the target's trigger noted as each change came.
func brokenSteps(ctx context.Context, s site, _ *history) ([]string, error) {
	rows, err := query(ctx, s.target, "SELECT id, n_before, n_after FROM broken_step LIMIT 5")
	var found []string
	for _, r := range rows {
		found = append(found, fmt.Sprintf("key %s went from change %s to %s", r[0], r[1], r[2]))
	}
	return found, err
}

// wrongLedger looks at the ledger once.
func wrongLedger(ctx context.Context, url string) ([]string, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return wrongLedgerOn(ctx, conn)
}

// readLedger reads all tables, a statement each, in one snapshot.
func readLedger(ctx context.Context, conn *pgconn.PgConn) ([]int64, error) {
	var sql strings.Builder
	sql.WriteString("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n")
	for i := range accountTables {
		fmt.Fprintf(&sql, "SELECT sum(balance) FROM %s;\n", account(i))
	}
	sql.WriteString("SELECT count(*) FROM journal;\nSELECT coalesce(max(txno), 0) FROM journal;\nSELECT n FROM ledger_seq;\nCOMMIT")
	results, err := conn.Exec(ctx, sql.String()).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	var values []int64
	for _, res := range results {
		for _, row := range res.Rows {
			n, err := strconv.ParseInt(string(row[0]), 10, 64)
			if err != nil {
				return nil, err
			}
			values = append(values, n)
		}
	}
	if len(values) != accountTables+3 {
		return nil, fmt.Errorf("read the ledger: %d values", len(values))
	}
	return values, nil
}

// wrongLedgerOn finds a transaction that is torn: money that is under way, or a
// transfer without its number (P4).
func wrongLedgerOn(ctx context.Context, conn *pgconn.PgConn) ([]string, error) {
	values, err := readLedger(ctx, conn)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, sum := range values[:accountTables] {
		total += sum
	}
	var found []string
	if total != ledgerTotal {
		found = append(found, fmt.Sprintf("the accounts hold %d; want %d", total, ledgerTotal))
	}
	if count, last, seq := values[accountTables], values[accountTables+1], values[accountTables+2]; count != last || last != seq {
		found = append(found, fmt.Sprintf("%d transfers, the last is number %d, the counter says %d", count, last, seq))
	}
	return found, nil
}

// wrongApplied compares what the non-idempotent sink counted with what
// happened: number, order, and nothing twice (P1, P2, P3).
func wrongApplied(ctx context.Context, s site, h *history) ([]string, error) {
	sums, err := query(ctx, s.target, "SELECT sum(n), (SELECT count(*) FROM applied) FROM applied_count")
	if err != nil {
		return nil, err
	}
	var found []string
	if sums[0][0] != sums[0][1] {
		found = append(found, fmt.Sprintf("the counter says %s, the rows %s", sums[0][0], sums[0][1]))
	}
	t, err := appliedOrder(ctx, s, h)
	if t != (tally{}) {
		found = append(found, fmt.Sprintf("of %d changes %s", len(h.numbered), t))
	}
	return found, err
}

// appliedOrder compares the order of what the sink counted with the source's.
func appliedOrder(ctx context.Context, s site, h *history) (tally, error) {
	rows, err := query(ctx, s.target, "SELECT tbl, op, change_id FROM applied ORDER BY seq")
	if err != nil {
		return tally{}, err
	}
	got := make([]change, len(rows))
	for i, r := range rows {
		id, err := strconv.ParseInt(r[2], 10, 64)
		if err != nil {
			return tally{}, err
		}
		got[i] = change{r[0], r[1], id}
	}
	return compareOrder(h.numbered, got), nil
}

// tally is the difference between what happened and what was applied.
type tally struct{ lost, duplicated, invented, reordered int }

// String returns the figures in words.
func (t tally) String() string {
	return fmt.Sprintf("%d lost, %d duplicated, %d invented, %d reordered", t.lost, t.duplicated, t.invented, t.reordered)
}

// compareOrder counts what is missing, what came again and what was never
// there; of the rest, each change that comes after one that it should precede.
func compareOrder(want, got []change) tally {
	place := make(map[change]int, len(want))
	for i, c := range want {
		place[c] = i
	}
	var t tally
	seen := make(map[change]bool, len(got))
	last := -1
	for _, c := range got {
		at, known := place[c]
		switch {
		case !known:
			t.invented++
		case seen[c]:
			t.duplicated++
		case at < last:
			t.reordered++
		default:
			last = at
		}
		seen[c] = true
	}
	for _, c := range want {
		if !seen[c] {
			t.lost++
		}
	}
	return t
}

// wrongLog checks the table without a key: each change is there once.
func wrongLog(ctx context.Context, s site, h *history) ([]string, error) {
	rows, err := query(ctx, s.target, "SELECT count(*), count(DISTINCT (id, n)) FROM chain_log")
	if err != nil {
		return nil, err
	}
	want := strconv.FormatInt(h.counts["chain_log"]["INSERT"], 10)
	if rows[0][0] != want || rows[0][1] != want {
		return []string{fmt.Sprintf("%s rows, %s different ones; %s were inserted", rows[0][0], rows[0][1], want)}, nil
	}
	return nil, nil
}

// wrongCounts checks the number of rows against the oracle's inserts and
// deletes.
func wrongCounts(ctx context.Context, s site, h *history) ([]string, error) {
	before := map[string]int64{"chain": chainKeys, "moved": movedRows, "step": stepKeys, "ledger_seq": 1}
	for i := range accountTables {
		before[account(i)] = accountsPer
	}
	var found []string
	for _, table := range allTables() {
		if table == "scratch" {
			continue // it is truncated now and then
		}
		rows, err := query(ctx, s.target, "SELECT count(*) FROM "+table)
		if err != nil {
			return nil, err
		}
		want := before[table] + h.counts[table]["INSERT"] - h.counts[table]["DELETE"]
		if rows[0][0] != strconv.FormatInt(want, 10) {
			found = append(found, fmt.Sprintf("%s: %s rows; by the oracle %d", table, rows[0][0], want))
		}
	}
	return found, nil
}
