package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// flatFactor is how much larger the second table is than the first.
	flatFactor = 20
	// flatTime is how much more a row of it may take: the same, but for noise.
	flatTime = 1.15

	lotsDB     = "lots" // thousands of tables
	lotsTables = 5000
	lotsWithin = 30 * time.Second
	// lotsAtOnce tables are made in one transaction, within what a server has locks for.
	lotsAtOnce = 100
)

// flatSQL makes a table of 6 columns, lotsSQL tables with few rows each.
const (
	flatSQL = `CREATE TABLE r (id bigint PRIMARY KEY, customer integer NOT NULL, name text NOT NULL, at timestamptz NOT NULL,
	amount numeric(12,2) NOT NULL, note text);
INSERT INTO r SELECT i, i % 1000, 'customer ' || i % 1000, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 ms', i * 1.01,
	CASE WHEN i % 5 > 0 THEN 'a note about ' || i END FROM generate_series(1, ROWS) i;
CREATE PUBLICATION p_r FOR TABLE r`
	lotsSQL = `DO $$ BEGIN FOR n IN FIRST..LAST LOOP
	EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2))', n);
	EXECUTE format('INSERT INTO t%s SELECT i, ''row '' || i, i FROM generate_series(1, 5) i', n);
END LOOP; END $$`
)

// flat measures whether a row costs the same in a table that is twenty times as
// large, into JSON lines and into a table that is made, and how long it takes
// until thousands of tables are copied and made.
func (c *copies) flat(ctx context.Context) error {
	sizes := []int64{c.h.opt.rows, flatFactor * c.h.opt.rows}
	for _, rows := range sizes {
		if err := c.load(ctx, flatDB(rows), rowsOf(flatSQL, rows)); err != nil {
			return err
		}
	}
	return errors.Join(
		c.flatBy(ctx, "to JSON", sizes, c.flatLines),
		c.flatBy(ctx, "into a table that is made", sizes, c.flatTable),
		c.lots(ctx))
}

func flatDB(rows int64) string { return fmt.Sprintf("flat%d", rows) }

// flatBy adds a result whose times are those of as many rows as the smaller table
// has.
func (c *copies) flatBy(ctx context.Context, way string, sizes []int64, run func(ctx context.Context, rows int64) (sample, error)) error {
	name := fmt.Sprintf("snapshot %d rows %s, time of %d of them", sizes[1], way, sizes[0])
	c.h.say("%s", name)
	var contenders []contender
	for _, rows := range sizes {
		contenders = append(contenders, contender{fmt.Sprintf("%d rows", rows), func(ctx context.Context) (sample, error) { return run(ctx, rows) }})
	}
	samples, err := alternate(ctx, c.h, c.h.opt.runs, contenders...)
	if err != nil {
		return err
	}
	for i := range samples[1] {
		samples[1][i].wall /= flatFactor
		samples[1][i].cpu /= flatFactor
	}
	return c.h.add(compare(pairing{name, fmt.Sprintf("a table of %d rows", sizes[0])}, samples[1], samples[0], limits{time: flatTime, rssMB: 128}))
}

func (c *copies) flatLines(ctx context.Context, rows int64) (sample, error) {
	file, err := c.pipeline(flatDB(rows), "p_r", "mode: only, parallel: 1", "type: file, path: /dev/null")
	if err != nil {
		return sample{}, err
	}
	return measure(ctx, c.h.bin, "run", file)
}

func (c *copies) flatTable(ctx context.Context, rows int64) (sample, error) {
	if err := c.fresh(ctx, ""); err != nil {
		return sample{}, err
	}
	file, err := c.pipeline(flatDB(rows), "p_r", "mode: only", c.intoTarget())
	if err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, c.h.bin, "run", file)
	return s, errors.Join(err, c.sameIn(ctx, flatDB(rows), "r"))
}

// lots copies thousands of tables, which are made, until it streams and has
// nothing left to do.
func (c *copies) lots(ctx context.Context) error {
	name := fmt.Sprintf("snapshot %d tables that are made, until streaming", lotsTables)
	c.h.say("%s", name)
	if err := c.load(ctx, lotsDB, "SELECT"); err != nil {
		return err
	}
	for first := 1; first <= lotsTables; first += lotsAtOnce {
		sql := strings.NewReplacer("FIRST", strconv.Itoa(first), "LAST", strconv.Itoa(min(first+lotsAtOnce-1, lotsTables))).Replace(lotsSQL)
		if err := c.at(ctx, lotsDB, sql); err != nil {
			return err
		}
	}
	if err := c.at(ctx, lotsDB, "ANALYZE"); err != nil {
		return err
	}
	samples, err := alternate(ctx, c.h, c.h.opt.runs, contender{"entrain", c.lotsOnce})
	if err != nil {
		return err
	}
	return c.h.add(compare(pairing{name, lotsWithin.String()}, samples[0], []sample{{wall: lotsWithin}}, limits{time: 1, rssMB: 128}))
}

func (c *copies) lotsOnce(ctx context.Context) (sample, error) {
	if err := errors.Join(c.fresh(ctx, ""), c.at(ctx, lotsDB, "CREATE PUBLICATION p_all FOR ALL TABLES")); err != nil {
		return sample{}, err
	}
	file, err := c.pipeline(lotsDB, "p_all", "mode: initial", c.intoTarget())
	if err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, c.h.bin, "run", "--until", "now", file)
	return s, errors.Join(err, c.sameIn(ctx, lotsDB, "t1"), c.sameIn(ctx, lotsDB, fmt.Sprintf("t%d", lotsTables)), c.teardown(ctx, file))
}
