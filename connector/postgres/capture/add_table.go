package capture

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// addLockTimeout is how long to wait for the table, which VACUUM and commands that
// change it have to themselves.
const addLockTimeout = 10 * time.Second

// AddTable implements entrain.TableAdder: it adds the table to the publication,
// the first one of several, and to nothing else. What a new publication would be
// refused for is refused. A table that is locked for long is a retryable error.
func (s *Source) AddTable(ctx context.Context, schema, name string) error {
	if err := s.checkChosen(schema, name); err != nil {
		return err
	}
	err := s.addTable(ctx, schema, name)
	if err != nil {
		return fmt.Errorf("add table %s.%s: %w", schema, name, err)
	}
	return nil
}

func (s *Source) addTable(ctx context.Context, schema, name string) error {
	pub, tables, err := s.look(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(tables, func(t sourceTable) bool { return t.name == sqltext.Table(schema, name) })
	if i < 0 {
		return stopTableUnknown(schema, name)
	}
	t := tables[i]
	if t.carried(pub.publication) {
		return nil
	}
	if err := s.checkAddable(ctx, pub, t); err != nil {
		return err
	}
	add := t.publish(pub.publication, s.cfg.publications()[0])
	if t.member != "" || t.splits(pub.publication) {
		return stopSentAsPartitions(t, add)
	}
	return s.publish(ctx, pub, t, add)
}

// checkChosen refuses a table that the configuration leaves out.
func (s *Source) checkChosen(schema, name string) error {
	if s.wants(schema, name) {
		return nil
	}
	all := s.cfg.Tables
	all.Exclude = nil
	included, err := all.matcher()
	if err != nil {
		return err // it was checked
	}
	key := "source.tables.exclude"
	switch {
	case schema == ownSchema:
		key = ""
	case !included(schema, name):
		key = "source.tables.include"
	}
	return stopTableExcluded(schema, name, key)
}

// alterable is the publication and what else adding to it takes to know.
type alterable struct {
	publication
	version   int
	owner     string
	generated string // which generated columns are published: "n" none, "s" stored ones
}

// look reads the publication and the wanted tables.
func (s *Source) look(ctx context.Context) (pub alterable, tables []sourceTable, err error) {
	names := s.cfg.publications()
	err = s.withConn(ctx, func(conn *pgconn.PgConn) error {
		rows, err := dial.QueryRows(ctx, conn, `SELECT pubname, pubviaroot, pg_get_userbyid(pubowner), coalesce(to_jsonb(p) ->> 'pubgencols', 'n'),
			current_setting('server_version_num') FROM pg_publication p WHERE pubname IN (`+quoteEach(names, sqltext.Literal)+`)`)
		if err != nil {
			return fmt.Errorf("look for publication: %w", err)
		}
		for _, r := range rows {
			pub.viaRoot = pub.viaRoot || r[1] == "t"
			if r[0] == names[0] {
				pub.owner, pub.generated = r[2], r[3]
			}
			pub.version, _ = strconv.Atoi(r[4])
		}
		for _, name := range names {
			if !slices.ContainsFunc(rows, func(r []string) bool { return r[0] == name }) {
				pub.missing = append(pub.missing, name)
			}
		}
		return nil
	})
	if err != nil {
		return pub, nil, err
	}
	if len(pub.missing) > 0 {
		return pub, nil, stopPublicationGone(pub.missing, nil)
	}
	tables, err = s.tables(ctx)
	return pub, tables, err
}

// checkAddable refuses what would make UPDATE and DELETE fail at the source, or
// could not be read.
func (s *Source) checkAddable(ctx context.Context, pub alterable, t sourceTable) error {
	if t.partition && pub.viaRoot {
		root, err := s.rootOf(ctx, t)
		if err != nil {
			return err
		}
		return stopPartitionAdded(t, root)
	}
	if names := t.bare(); len(names) > 0 {
		return stopNoIdentity(names, t.mend())
	}
	if err := checkGenerated([]sourceTable{t}, pub.version); err != nil {
		return err
	}
	if t.stored != "" && pub.version >= publishesGenerated && pub.generated != "s" {
		return stopGeneratedIdentity([]string{t.name + " (" + t.stored + ")"}, []string{publishGenerated(s.cfg.publications()[0])})
	}
	return checkMixed([]sourceTable{t})
}

// rootOf is the partitioned table at the top of a partition, for people.
func (s *Source) rootOf(ctx context.Context, t sourceTable) (root string, err error) {
	err = s.withConn(ctx, func(conn *pgconn.PgConn) error {
		row, err := dial.QueryRow(ctx, conn, `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = pg_partition_root(to_regclass($1))`, t.name)
		if err == nil && row != nil {
			root = row[0]
		}
		return err
	})
	return root, err
}

// publish executes the ALTER PUBLICATION.
func (s *Source) publish(ctx context.Context, pub alterable, t sourceTable, add string) error {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return dial.FileChanges(err)
	}
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(addLockTimeout.Milliseconds(), 10)
	err = dial.InSession(ctx, cfg, func(conn *pgconn.PgConn) error {
		_, err := dial.QueryRows(ctx, conn, add)
		return err
	})
	switch dial.SQLState(err) {
	case duplicateObject: // somebody else was faster
		return nil
	case dial.StateNoPrivilege, stateReadOnly:
		return s.stopTableNotAdded(ctx, refusedTable{pub, t, add}, err)
	}
	if err == nil {
		s.cfg.Log.Info("added table to publication", "table", t.name, "publication", s.cfg.publications()[0])
		s.warnPartitioned([]sourceTable{t})
	}
	return err
}
