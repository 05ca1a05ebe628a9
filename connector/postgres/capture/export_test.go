package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/snapshot"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// takeSnapshot joins what the door joins.
func takeSnapshot(t *testing.T, src *Source) *snapshot.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcePatience)
	defer cancel()
	e, err := src.Export(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(ctx, snapshot.Config{
		Server: e.Server, Version: e.Version, Exported: e.Snapshot, Taken: func() { e.Close(ctx) }, Stream: e.Stream, From: e.From, At: e.At,
		Publications: e.Publications, Wants: e.Wants, Kind: e.Kind, MaxRow: e.MaxEventBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// eachRead hands each event of a snapshot to take.
func eachRead(t *testing.T, s *snapshot.Snapshot, take func(e *entrain.Event)) {
	t.Helper()
	for i, st := range s.Tables() {
		for n := range st.Parts {
			eachOfPart(t, s, entrain.SnapshotPart{Table: i, Number: n}, take)
		}
	}
}

func eachOfPart(t *testing.T, s *snapshot.Snapshot, p entrain.SnapshotPart, take func(e *entrain.Event)) {
	t.Helper()
	r, err := s.Read(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		b, err := r.Read(t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			take(&b.Events[i])
		}
		b.Free()
	}
}

// checkCopied is checkTyped for the rows of a snapshot.
func checkCopied(t *testing.T, src *Source, w typed) {
	t.Helper()
	w.want = maps.Clone(w.want)
	eachRead(t, takeSnapshot(t, src), func(e *entrain.Event) {
		if strings.HasPrefix(e.Table.Name, "t_") {
			w.check(t, e)
		}
	})
	for row := range w.want {
		t.Errorf("%s was not copied", row)
	}
}

// checkChunked is checkTyped for the rows of chunks.
func checkChunked(t *testing.T, src *Source, w typed) {
	t.Helper()
	w.want = maps.Clone(w.want)
	k := byKey(t, src)
	tables, err := k.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, ct := range tables {
		if !strings.HasPrefix(ct.Table.Name, "t_") {
			continue
		}
		c, err := k.Read(t.Context(), entrain.ChunkQuery{Table: ct.Table, Rows: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Rows {
			w.check(t, &entrain.Event{Table: c.Table, After: row})
		}
	}
	for row := range w.want {
		t.Errorf("%s is in no chunk", row)
	}
}

// byKey joins what the door joins, for a session that ends with the test.
func byKey(t *testing.T, src *Source) *snapshot.Keyed {
	t.Helper()
	b, err := src.Beside("chunks")
	if err != nil {
		t.Fatal(err)
	}
	k, err := snapshot.OpenKeyed(t.Context(), snapshot.KeyedConfig{
		Server: b.Server, Publications: b.Publications, Wants: b.Wants, Kind: b.Kind, MaxRow: b.MaxEventBytes,
		Beat: b.Beat, At: b.At, Open: b.Open, Log: b.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// TestCopiedEncodings: PG-31, P1. A copied value has the bytes of the same value
// in the stream, whatever the database's encoding is.
func TestCopiedEncodings(t *testing.T) {
	texts := map[string]string{"LATIN1": `convert_from('\xdc6eef5cff', 'LATIN1')`, "EUC_JP": "'日本語'", "SQL_ASCII": `E'\xe9 \xff \\N'`}
	for encoding, text := range texts {
		t.Run(encoding, func(t *testing.T) {
			eachEncoded(t, encoding, func(t *testing.T, src *Source, url string) {
				from := createSlot(t, src)
				pgtest.Exec(t, url, "INSERT INTO t VALUES (1, "+text+")", "INSERT INTO t VALUES (2, E'\\b\\f\\n\\r\\t\\v\\x7f\\\\.')")
				want := map[string]string{}
				r := openReader(t, src, from)
				defer closeReader(t, r)
				for len(want) < 2 {
					for _, e := range read(t, r).Events {
						v, _ := e.After.Column(1, 2)
						want[string(e.After[8:9])] = string(v)
					}
				}
				eachRead(t, takeSnapshot(t, src), func(e *entrain.Event) {
					if v, _ := e.After.Column(1, 2); string(v) != want[string(e.After[8:9])] {
						t.Errorf("copied %q, the stream has %q", v, want[string(e.After[8:9])])
					}
					delete(want, string(e.After[8:9]))
				})
				if len(want) != 0 {
					t.Errorf("not copied: %q", want)
				}
				checkChunkIsCopy(t, src)
			})
		})
	}
}

// checkChunkIsCopy: a chunk of the only table has the rows of its copy, byte by
// byte.
func checkChunkIsCopy(t *testing.T, src *Source) {
	t.Helper()
	var copied, chunked []string
	eachRead(t, takeSnapshot(t, src), func(e *entrain.Event) { copied = append(copied, string(e.After)) })
	k := byKey(t, src)
	tables, err := k.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Read(t.Context(), entrain.ChunkQuery{Table: tables[0].Table, Rows: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Rows {
		chunked = append(chunked, string(row))
	}
	if !slices.Equal(copied, chunked) || len(tables) != 1 || len(copied) == 0 {
		t.Errorf("copied %q, the chunk has %q", copied, chunked)
	}
}

// TestCopyUntranslatable: what the stream stops at, a copy does, too.
func TestCopyUntranslatable(t *testing.T) {
	eachEncoded(t, "WIN1252", func(t *testing.T, src *Source, url string) {
		pgtest.Exec(t, url, `INSERT INTO t VALUES (2, convert_from('\x81', 'WIN1252'))`)
		r, err := takeSnapshot(t, src).Read(t.Context(), entrain.SnapshotPart{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = r.Read(t.Context())
		expectStop(t, err, "text_untranslatable")
		k := byKey(t, src)
		tables, err := k.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Read(t.Context(), entrain.ChunkQuery{Table: tables[0].Table, Rows: 10})
		expectStop(t, err, "text_untranslatable")
	})
}

// TestExportBehindOpenTransaction: PG-28. The temporary slot waits for open
// transactions only so long, and leaves nothing.
func TestExportBehindOpenTransaction(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		cfg := sourceConfig(t, url)
		cfg.CreateTimeout = time.Second
		createSlot(t, mustSource(t, cfg))
		open := pgtest.Connect(t, url)
		if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1, 'x')").ReadAll(); err != nil {
			t.Fatal(err)
		}
		temporary := "SELECT count(*) FROM pg_replication_slots WHERE temporary"
		senders := "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"
		gone := func() bool {
			return pgtest.QueryOne(t, url, temporary) == "0" && pgtest.QueryOne(t, url, senders) == "0"
		}
		export := func(ctx context.Context) error {
			e, err := mustSource(t, cfg).Export(ctx, nil)
			if err == nil {
				e.Close(ctx)
			}
			return err
		}
		stop := expectStop(t, export(t.Context()), "slot_waits")
		if want := fmt.Sprintf("process %d", open.PID()); !strings.Contains(stop.Why, want) {
			t.Errorf("the stop does not say %q: %+v", want, stop)
		}
		pgtest.Eventually(t, sourcePatience, "nothing is left", gone)
		cfg.CreateTimeout = sourcePatience
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		failed := make(chan error, 1)
		go func() { failed <- export(ctx) }()
		pgtest.Eventually(t, sourcePatience, "the slot is being made", func() bool { return pgtest.QueryOne(t, url, temporary) == "1" })
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("export: %v", err)
		}
		pgtest.Eventually(t, sourcePatience, "nothing is left", gone)
		pgtest.Exec(t, url, nextSQL(stop))
		if err := export(t.Context()); err != nil {
			t.Error(err)
		}
		pgtest.Eventually(t, sourcePatience, "nothing is left", gone)
	})
}

// takeOnStandby takes a snapshot with the help of the primary, which writes rows
// behind the one of that number meanwhile, and returns the last one's.
func (p pair) takeOnStandby(t *testing.T, src *Source, n int) (*snapshot.Snapshot, int) {
	t.Helper()
	taken := make(chan *snapshot.Snapshot, 1)
	go func() {
		defer close(taken)
		taken <- takeSnapshot(t, src)
	}()
	var s *snapshot.Snapshot
	pgtest.Eventually(t, sourcePatience, "the snapshot is taken", func() bool {
		n++
		p.write(t, fmt.Sprintf("INSERT INTO t VALUES (%d, 'new')", n), standbySnapshot)
		select {
		case s = <-taken:
			return true
		default:
			return false
		}
	})
	if s == nil {
		t.Fatal("no snapshot")
	}
	return s, n
}

// present are the ids of rows of t.
type present map[string]bool

func (p present) apply(t *testing.T, e *entrain.Event) {
	t.Helper()
	row, there := e.After, true
	if e.Op == entrain.OpDelete {
		row, there = e.Before, false
	}
	v, _ := row.Column(0, 2)
	if p[string(v)] == there {
		t.Errorf("%s of row %s, which is there: %t", e.Op, v, there)
	}
	p[string(v)] = there
	if !there {
		delete(p, string(v))
	}
}

// follow applies what a batch has above a version.
func (p present) follow(t *testing.T, b *entrain.Batch, version uint64) {
	t.Helper()
	for i := range b.Events {
		if b.Events[i].Tx.Version > version {
			p.apply(t, &b.Events[i])
		}
	}
}

// TestSnapshotOnStandby: a standby's tables are read there, at a moment that its
// stream joins.
func TestSnapshotOnStandby(t *testing.T) {
	for _, major := range majorsFrom(t, 16) {
		t.Run(versionName(major), func(t *testing.T) {
			p := startPair(t, major, nil, nil)
			p.write(t, "INSERT INTO t SELECT i, 'old' FROM generate_series(1, 1000) i")
			src := p.source(t)
			s, n := p.takeOnStandby(t, src, 1000)
			p.write(t, "DELETE FROM t WHERE id <= 10", "INSERT INTO t VALUES (0, 'last')")
			rows := present{}
			eachRead(t, s, func(e *entrain.Event) { rows.apply(t, e) })
			copied := len(rows)
			r, err := src.Open(t.Context(), s.Point().From)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for !rows["0"] {
				rows.follow(t, read(t, r), s.Point().Version)
			}
			if want := n - 10 + 1; len(rows) != want || copied < 1000 {
				t.Errorf("%d rows, want %d; %d of them copied", len(rows), want, copied)
			}
		})
	}
}

// TestPublicationChangesMeanwhile: P1. A table that is added to the publication
// behind the view, but before the catalog is read, is not copied as if the stream
// had it from there on.
func TestPublicationChangesMeanwhile(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE u (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR TABLE t")
		e, err := newTestSource(t, url).Export(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := snapshot.Open(t.Context(), snapshot.Config{
			Server: e.Server, Version: e.Version, Exported: e.Snapshot, Stream: e.Stream, From: e.From, At: e.At,
			Publications: e.Publications, Wants: e.Wants, Kind: e.Kind, MaxRow: e.MaxEventBytes,
			Taken: func() {
				e.Close(t.Context())
				pgtest.Exec(t, url, "ALTER PUBLICATION pub ADD TABLE u")
			},
		})
		if err == nil {
			s.Close()
		}
		if !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "publication changed") {
			t.Errorf("opened: %v", err)
		}
		takeSnapshot(t, newTestSource(t, url))
	})
}
