package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// Databases of the snapshot works at the source.
const (
	wholeDB  = "whole"  // one large table
	manyDB   = "many"   // a hundred tables
	copiedDB = "copied" // what each run makes at the target
)

// wholeSQL makes a table of 6 columns with two indexes besides its key, manySQL
// a hundred tables of ROWS each.
const (
	wholeSQL = `CREATE TABLE r (id bigint PRIMARY KEY, customer integer NOT NULL, name text NOT NULL, at timestamptz NOT NULL,
	amount numeric(12,2) NOT NULL, note text);
INSERT INTO r SELECT i, i % 1000, 'customer ' || i % 1000, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 ms', i * 1.01,
	CASE WHEN i % 5 > 0 THEN 'a note about ' || i END FROM generate_series(1, ROWS) i;
CREATE INDEX r_customer ON r (customer); CREATE INDEX r_at ON r (at);
CREATE TABLE live (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE PUBLICATION p_r FOR TABLE r; CREATE PUBLICATION p_live FOR TABLE r, live`
	manySQL = `DO $$ BEGIN FOR n IN 1..100 LOOP
	EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2))', n);
	EXECUTE format('INSERT INTO t%s SELECT i, ''row '' || i, i FROM generate_series(1, ROWS) i', n);
END LOOP; END $$; CREATE PUBLICATION p_all FOR ALL TABLES`
)

func rowsOf(sql string, rows int64) string {
	return strings.ReplaceAll(sql, "ROWS", strconv.FormatInt(rows, 10))
}

// snapshot measures the copying of existing rows: into JSON lines beside psql's
// COPY, into tables that are made beside pg_dump and pg_restore, of many tables
// beside a native subscription, and how soon it has caught up with writers. With
// --flat it measures instead what grows with the rows and tables.
func snapshot(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	c := &copies{h: h, source: source, target: target, rows: 5 * h.opt.rows}
	if h.opt.flat {
		return c.flat(ctx)
	}
	if err := c.load(ctx, wholeDB, rowsOf(wholeSQL, c.rows)); err != nil {
		return err
	}
	if err := c.load(ctx, manyDB, rowsOf(manySQL, max(1, h.opt.rows/100))); err != nil {
		return err
	}
	for _, work := range []func(context.Context) error{c.lines, c.tables, c.many, c.underLoad} {
		if err := work(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copies is what the snapshot works share.
type copies struct {
	h              *harness
	source, target *pgserver.Server
	rows           int64
}

// load makes a database at the source.
func (c *copies) load(ctx context.Context, db, sql string) error {
	c.h.say("loading database %s", db)
	admin, err := connect(ctx, c.source.URL("postgres"), nil)
	if err != nil {
		return err
	}
	defer admin.close(ctx)
	if err := admin.exec(ctx, "CREATE DATABASE "+db); err != nil {
		return err
	}
	s, err := connect(ctx, c.source.URL(db), map[string]string{"synchronous_commit": "off"})
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return s.exec(ctx, sql, "VACUUM ANALYZE", "CHECKPOINT")
}

// fresh makes the target's database anew, with the schema if there is one.
func (c *copies) fresh(ctx context.Context, schema string) error {
	admin, err := connect(ctx, c.target.URL("postgres"), nil)
	if err != nil {
		return err
	}
	defer admin.close(ctx)
	if err := admin.exec(ctx, "DROP DATABASE IF EXISTS "+copiedDB, "CREATE DATABASE "+copiedDB, "CHECKPOINT"); err != nil || schema == "" {
		return err
	}
	s, err := connect(ctx, c.target.URL(copiedDB), nil)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return s.exec(ctx, schema)
}

// pipeline writes a pipeline file with a snapshot section.
func (c *copies) pipeline(db, publication, snapshot, sink string) (string, error) {
	c.h.files++
	name := fmt.Sprintf("copy%d", c.h.files)
	text := fmt.Sprintf("name: %s\nsource: {type: postgres, url: %q, publication: %s, create: true}\nsnapshot: {%s}\nsink: {%s}\nstate: {dir: %q}\n",
		name, c.source.URL(db), publication, snapshot, sink, filepath.Join(c.h.dir, "state"))
	file := filepath.Join(c.h.dir, name+".yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

func (c *copies) intoTarget() string {
	return fmt.Sprintf("type: postgres, url: %q, create_tables: true", c.target.URL(copiedDB))
}

// lines is one table into native JSON on /dev/null.
func (c *copies) lines(ctx context.Context) error {
	name := fmt.Sprintf("snapshot %d rows x 6 columns to JSON", c.rows)
	c.h.say("%s", name)
	psql, err := exec.LookPath("psql")
	if err != nil {
		return fmt.Errorf("the peer psql: %w", err)
	}
	ours := func(parallel int) contender {
		return contender{fmt.Sprintf("entrain, parallel %d", parallel), func(ctx context.Context) (sample, error) {
			file, err := c.pipeline(wholeDB, "p_r", fmt.Sprintf("mode: only, parallel: %d", parallel), "type: file, path: /dev/null")
			if err != nil {
				return sample{}, err
			}
			return measure(ctx, c.h.bin, "run", file)
		}}
	}
	samples, err := alternate(ctx, c.h, c.h.opt.runs, contender{"psql COPY", func(ctx context.Context) (sample, error) {
		return measure(ctx, psql, "-Xq", "-d", c.source.URL(wholeDB), "-c", "COPY r TO STDOUT", "-o", "/dev/null")
	}}, ours(1), ours(2))
	if err != nil {
		return err
	}
	return errors.Join(
		c.h.add(compare(pairing{name + ", parallel 1", "psql COPY"}, samples[1], samples[0], limits{time: 1.15, rssMB: 128})),
		c.h.add(compare(pairing{name + ", parallel 2", "psql COPY"}, samples[2], samples[0], limits{time: 1, rssMB: 128})))
}

// tables is the same table into one that is made, with its indexes.
func (c *copies) tables(ctx context.Context) error {
	name := fmt.Sprintf("snapshot %d rows into a table that is made, 2 indexes", c.rows)
	c.h.say("%s", name)
	samples, err := alternate(ctx, c.h, c.h.opt.runs,
		contender{"pg_dump -j2, pg_restore -j2", c.dumped},
		contender{"entrain", func(ctx context.Context) (sample, error) {
			if err := c.fresh(ctx, ""); err != nil {
				return sample{}, err
			}
			file, err := c.pipeline(wholeDB, "p_r", "mode: only", c.intoTarget())
			if err != nil {
				return sample{}, err
			}
			s, err := measure(ctx, c.h.bin, "run", file)
			return s, errors.Join(err, c.same(ctx, "r"))
		}})
	if err != nil {
		return err
	}
	return c.h.add(compare(pairing{name, "pg_dump + pg_restore"}, samples[1], samples[0], limits{time: 0.8, rssMB: 128}))
}

func (c *copies) dumped(ctx context.Context) (sample, error) {
	if err := c.fresh(ctx, ""); err != nil {
		return sample{}, err
	}
	dir := filepath.Join(c.h.dir, "dump")
	if err := os.RemoveAll(dir); err != nil {
		return sample{}, err
	}
	dump, err := measure(ctx, c.h.install.Path("pg_dump"), "-j2", "-Fd", "-f", dir, "-t", "r", c.source.URL(wholeDB))
	if err != nil {
		return sample{}, err
	}
	restore, err := measure(ctx, c.h.install.Path("pg_restore"), "-j2", "-d", c.target.URL(copiedDB), dir)
	return sample{wall: dump.wall + restore.wall, cpu: dump.cpu + restore.cpu}, errors.Join(err, os.RemoveAll(dir))
}

// same compares a table of the two databases.
func (c *copies) same(ctx context.Context, table string) error {
	db := wholeDB
	if table != "r" {
		db = manyDB
	}
	return c.sameIn(ctx, db, table)
}

// sameIn compares a table of a database of the source with the one it became.
func (c *copies) sameIn(ctx context.Context, db, table string) error {
	sql := fmt.Sprintf("SELECT count(*) || ' rows, hash ' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM %s x", table)
	a, err := one(ctx, c.source.URL(db), sql)
	if err != nil {
		return err
	}
	b, err := one(ctx, c.target.URL(copiedDB), sql)
	if err == nil && a != b {
		err = fmt.Errorf("%w: table %s: %s; %s", errDiffer, table, a, b)
	}
	return err
}

// one asks for one value in a session of its own.
func one(ctx context.Context, url, sql string) (string, error) {
	s, err := connect(ctx, url, nil)
	if err != nil {
		return "", err
	}
	defer s.close(ctx)
	return s.value(ctx, sql)
}

const manyTables = `DO $$ BEGIN FOR n IN 1..100 LOOP
	EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2))', n); END LOOP; END $$`

// many is a hundred tables, which the target has already, beside a native
// subscription that copies them.
func (c *copies) many(ctx context.Context) error {
	name := fmt.Sprintf("snapshot %d rows in 100 tables", c.h.opt.rows)
	c.h.say("%s", name)
	samples, err := alternate(ctx, c.h, c.h.opt.runs, contender{"native subscription", c.subscribed},
		contender{"entrain", func(ctx context.Context) (sample, error) {
			if err := c.fresh(ctx, manyTables); err != nil {
				return sample{}, err
			}
			file, err := c.pipeline(manyDB, "p_all", "mode: initial", c.intoTarget())
			if err != nil {
				return sample{}, err
			}
			s, err := measure(ctx, c.h.bin, "run", "--until", "now", file)
			return s, errors.Join(err, c.same(ctx, "t7"), c.same(ctx, "t100"), c.teardown(ctx, file),
				c.at(ctx, manyDB, "CREATE PUBLICATION p_all FOR ALL TABLES")) // it went with the pipeline
		}})
	if err != nil {
		return err
	}
	return c.h.add(compare(pairing{name, "native subscription"}, samples[1], samples[0], limits{time: 0.6, rssMB: 128}))
}

func (c *copies) at(ctx context.Context, db, sql string) error {
	s, err := connect(ctx, c.source.URL(db), nil)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return s.exec(ctx, sql)
}

func (c *copies) teardown(ctx context.Context, file string) error {
	_, err := measure(ctx, c.h.bin, "teardown", "--yes", file)
	return err
}

func (c *copies) subscribed(ctx context.Context) (sample, error) {
	if err := c.fresh(ctx, manyTables); err != nil {
		return sample{}, err
	}
	s, err := connect(ctx, c.target.URL(copiedDB), nil)
	if err != nil {
		return sample{}, err
	}
	defer s.close(ctx)
	began := time.Now()
	err = s.exec(ctx, fmt.Sprintf("CREATE SUBSCRIPTION native CONNECTION 'host=127.0.0.1 port=%d user=postgres dbname=%s' PUBLICATION p_all",
		c.source.Port(), manyDB))
	if err == nil {
		err = s.await(ctx, applyTimeout, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
	}
	took := sample{wall: time.Since(began)}
	return took, errors.Join(err, c.same(ctx, "t7"), s.exec(ctx, "DROP SUBSCRIPTION native"))
}

// underLoad copies while a thousand transactions a second are committed: how
// long after the last table it is less than a second behind.
func (c *copies) underLoad(ctx context.Context) error {
	name := fmt.Sprintf("less than 1 s behind after a snapshot of %d rows under %d transactions a second", c.rows, liveRate)
	c.h.say("%s", name)
	samples, err := alternate(ctx, c.h, min(3, c.h.opt.runs), contender{"entrain", c.catchUp})
	if err != nil {
		return err
	}
	return c.h.add(compare(pairing{name, "1 s"}, samples[0], []sample{{wall: time.Second}}, limits{time: 5, rssMB: 128}))
}

func (c *copies) catchUp(ctx context.Context) (sample, error) {
	if err := c.fresh(ctx, ""); err != nil {
		return sample{}, err
	}
	writer, err := connect(ctx, c.source.URL(wholeDB), nil)
	if err != nil {
		return sample{}, err
	}
	defer writer.close(ctx)
	if err := writer.exec(ctx, "TRUNCATE live"); err != nil {
		return sample{}, err
	}
	file, err := c.pipeline(wholeDB, "p_live", "mode: initial", c.intoTarget())
	if err != nil {
		return sample{}, err
	}
	p := newProcess(ctx, c.h.bin, "run", file)
	if err := p.start(); err != nil {
		return sample{}, err
	}
	behind, err := c.behind(ctx, writer)
	s, stopErr := p.stop(ctx)
	s.wall = behind
	return s, errors.Join(err, stopErr, c.teardown(ctx, file))
}

// behind commits at the rate until the rows of a second ago are at the target,
// and returns how long that was after all tables were copied.
func (c *copies) behind(ctx context.Context, writer *session) (time.Duration, error) {
	pace := newPace(liveRate)
	defer pace.stop()
	var copied time.Time
	for i := 1; ; i++ {
		if err := pace.wait(ctx, i); err != nil {
			return 0, err
		}
		if err := writer.exec(ctx, fmt.Sprintf("INSERT INTO live VALUES (%d)", i)); err != nil {
			return 0, err
		}
		if i%20 != 0 || i <= liveRate {
			continue
		}
		switch reached, err := c.reached(ctx); {
		case err != nil:
			return 0, err
		case reached < 0:
			copied = time.Time{}
		case copied.IsZero():
			copied = time.Now()
		case reached >= i-liveRate:
			return max(time.Since(copied), time.Millisecond), nil
		}
	}
}

// reached is the last row of live at the target, -1 as long as not every table
// is copied: the position has its first value then.
func (c *copies) reached(ctx context.Context) (int, error) {
	s, err := connect(ctx, c.target.URL(copiedDB), nil)
	if err != nil {
		return 0, err
	}
	defer s.close(ctx)
	there, err := s.value(ctx, "SELECT to_regclass('entrain.position') IS NOT NULL AND to_regclass('live') IS NOT NULL")
	if err != nil || there != "t" {
		return -1, err
	}
	text, err := s.value(ctx, "SELECT CASE WHEN position = '' THEN -1 ELSE (SELECT coalesce(max(id), 0) FROM live) END FROM entrain.position")
	if err != nil {
		return -1, nil // it is being made
	}
	return strconv.Atoi(text)
}
