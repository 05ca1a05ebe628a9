package campaign

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// history is what really happened at the source, in commit order, as the
// server's own test_decoding tells it.
type history struct {
	changes      int64
	transactions int64
	counts       map[string]map[string]int64 // by table, by operation
	numbered     []change                    // those of tick and step
}

// change is one change that has a number.
type change struct {
	table, op string
	id        int64
}

const oraclePiece = 50000

// readHistory decodes the oracle's slot up to the end of the log.
func readHistory(ctx context.Context, s site) (*history, error) {
	conn, err := pgconn.Connect(ctx, s.source)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	h := &history{counts: map[string]map[string]int64{}}
	for {
		rows, err := queryOn(ctx, conn, fmt.Sprintf(
			"SELECT left(data, 400) FROM pg_logical_slot_get_changes('%s', NULL, %d)", s.oracle, oraclePiece))
		if err != nil {
			return nil, fmt.Errorf("decode the oracle's slot: %w", err)
		}
		if len(rows) == 0 {
			return h, nil
		}
		for _, row := range rows {
			if err := h.add(row[0]); err != nil {
				return nil, err
			}
		}
	}
}

var (
	decodedLine   = regexp.MustCompile(`^table public\.([a-z_0-9]+): ([A-Z]+): (.*)`)
	decodedNumber = regexp.MustCompile(`change_id\[bigint\]:(\d+)`)
)

// add takes one line of test_decoding.
func (h *history) add(line string) error {
	switch {
	case strings.HasPrefix(line, "BEGIN"):
		return nil
	case strings.HasPrefix(line, "COMMIT"):
		h.transactions++
		return nil
	case strings.HasPrefix(line, "message: transactional: 1 prefix: entrain,"):
		h.transactions-- // a heartbeat, which --until now may have written
		return nil
	}
	m := decodedLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("the oracle says %q", line)
	}
	table, op, values := m[1], m[2], m[3]
	h.changes++
	if h.counts[table] == nil {
		h.counts[table] = map[string]int64{}
	}
	h.counts[table][op]++
	if table != "tick" && table != "step" {
		return nil
	}
	if _, after, found := strings.Cut(values, "new-tuple: "); found {
		values = after
	}
	number := decodedNumber.FindStringSubmatch(values)
	if number == nil {
		return fmt.Errorf("no change_id in what the oracle says: %q", line)
	}
	id, err := strconv.ParseInt(number[1], 10, 64)
	if err != nil {
		return err
	}
	h.numbered = append(h.numbered, change{table, op, id})
	return nil
}
