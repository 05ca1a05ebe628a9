package preflight_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestDocsDescribeEveryCode: the place that a finding names exists.
func TestDocsDescribeEveryCode(t *testing.T) {
	text, err := os.ReadFile("../../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^### `?([a-z0-9_]+)`?$").FindAllStringSubmatch(string(text), -1) {
		if headings[m[1]] {
			t.Errorf("two sections of %s", m[1])
		}
		headings[m[1]] = true
	}
	for _, code := range append(preflight.SourceCodes(), preflight.TargetCodes()...) {
		if !headings[code] {
			t.Errorf("docs/postgres.md has no section %s", code)
		}
	}
}

// front stands between client and server and does what PgBouncer does: it
// answers with a process id of its own.
func front(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	backend := u.Host
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relay(client, backend) })
		}
	})
	u.Host = ln.Addr().String()
	return u.String()
}

// relay copies both ways; of what the server says it rewrites BackendKeyData.
func relay(client net.Conn, backend string) {
	defer client.Close()
	server, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	header := make([]byte, 5)
	for {
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		if header[0] == 'K' {
			copy(body, []byte{0x12, 0x34, 0x56, 0x78})
		}
		if _, err := client.Write(bytes.Join([][]byte{header, body}, nil)); err != nil {
			return
		}
	}
}

// TestPooler: what answers for the server is noticed at either end.
func TestPooler(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	if found := l.findings("pooler"); len(found) > 0 {
		t.Fatalf("without one: %+v", found)
	}
	l.file.Source.URL = connector.Secret(front(t, l.file.Source.URL.Reveal()))
	l.file.Sink.URL = connector.Secret(front(t, l.file.Sink.URL.Reveal()))
	found := l.findings("pooler")
	if len(found) != 2 || found[0].Status != fails || found[1].Status != warns {
		t.Errorf("found %+v, want an error at the source and a warning at the target", found)
	}
}

// TestPoolerThatRefuses: what does not know the settings that every server
// knows is named, too, not reported as a failure of ours.
func TestPoolerThatRefuses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			fields := "SFATAL\x00C08P01\x00Munsupported startup parameter: bytea_output\x00\x00"
			conn.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(fields)+4)), fields...))
			conn.Close()
		}
	}()
	l := &lab{t: t}
	l.file.Source.URL = connector.Secret("postgres://joe@" + ln.Addr().String() + "/app")
	l.file.Sink.URL, l.file.Sink.Pipeline = l.file.Source.URL, "p"
	found := l.findings("pooler")
	if len(found) != 2 || found[0].Status != fails || !strings.Contains(found[0].Why, "bytea_output") {
		t.Errorf("found %+v", found)
	}
}

// TestStandbySource: P5. A standby without feedback to its primary would lose
// its slot.
func TestStandbySource(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(pgtest.Install(t, major).Version, func(t *testing.T) {
			primary := pgtest.Start(t, major, calm)
			l := newLab(t, primary, major)
			standby := standbyOf(t, primary)
			l.srv = standby
			move := func(text string) string {
				u, _ := url.Parse(text)
				other, _ := url.Parse(standby.URL("x"))
				u.Host = other.Host
				return u.String()
			}
			l.source, l.file.Source.URL = move(l.source), connector.Secret(move(l.file.Source.URL.Reveal()))
			found := l.findings("standby_source")
			if len(found) != 1 || found[0].Status != fails || (len(found[0].Fix) > 0) != (major >= 16) {
				t.Fatalf("found %+v", found)
			}
			if major < 16 {
				return
			}
			l.mend(found[0].Fix)
			pgtest.Eventually(t, settle, "the finding is gone", func() bool { return len(l.findings("standby_source")) == 0 })
		})
	}
}

// standbyOf copies a stopped server and starts both.
func standbyOf(t *testing.T, primary *pgserver.Server) *pgserver.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "entrain-standby-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	for _, step := range []func() error{
		func() error { return primary.Stop(t.Context()) },
		func() error { return os.Chmod(dir, 0o755) },
		func() error { return os.CopyFS(data, os.DirFS(filepath.Join(primary.Dir(), "data"))) },
		func() error { return os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644) },
		func() error { return primary.Start(t.Context()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return pgtest.StartConfig(t, pgserver.Config{Install: primary.Install(), Dir: dir, Settings: calm})
}

// TestEncodings: a source that takes any bytes, and a target that does not
// have all characters.
func TestEncodings(t *testing.T) {
	major := pgtest.Majors(t)[0]
	srv := pgtest.Shared(t, major)
	l := newLab(t, srv, major)
	recode := func(url, encoding string) {
		db := databaseOf(url)
		pgtest.Exec(t, srv.URL("postgres"), "ALTER DATABASE "+db+" RENAME TO "+db[:4]+"_old_"+strings.ToLower(encoding),
			"CREATE DATABASE "+db+" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING "+sqltext.Literal(encoding))
	}
	recode(l.target, "LATIN1")
	if found := l.findings("target_encoding"); len(found) != 1 || found[0].Status != warns || len(found[0].Fix) > 0 {
		t.Errorf("found %+v", found)
	}
	if found := l.findings("server_encoding"); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	recode(l.source, "SQL_ASCII")
	if found := l.findings("server_encoding"); len(found) != 1 || found[0].Status != warns || len(found[0].Fix) > 0 {
		t.Errorf("found %+v", found)
	}
}

// TestCheckChangesNothing: P7. An examination leaves no slot, no publication,
// no table and no session, and cannot write.
func TestCheckChangesNothing(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Shared(t, major)
		l := newLab(t, srv, major)
		l.asKeeper(l.source, "DROP PUBLICATION pub")
		look := func() string {
			var all [][]string
			for _, db := range []string{l.source, l.target} {
				all = append(all, pgtest.Query(t, db, `SELECT 'class', oid::text, relname FROM pg_class WHERE relname !~ '^pg_' UNION ALL
					SELECT 'publication', oid::text, pubname FROM pg_publication UNION ALL
					SELECT 'slot', '', slot_name FROM pg_replication_slots UNION ALL
					SELECT 'session', '', application_name FROM pg_stat_activity WHERE application_name LIKE '%check%' ORDER BY 1, 2, 3`)...)
			}
			return strings.Join(slices.Concat(all...), " ")
		}
		before := look()
		l.check()
		pgtest.Eventually(t, settle, "all is as it was", func() bool { return look() == before })
	}
}

// TestCheckIsBounded: a table that somebody holds the lock of, and a server that
// does not answer, do not hold an examination up.
func TestCheckIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	l.file.Source.URL = connector.Secret("postgres://joe@" + ln.Addr().String() + "/app")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := mustSource(t, l).Check(ctx, nil); err == nil || ctx.Err() == nil {
		t.Errorf("no answer: %v", err)
	}
}

// Without knowledge of the source, what depends on it is not reported as well.
func TestUnknownSource(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	report, err := mustSink(t, l).Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Code == "table_missing" || f.Code == "same_database" || f.Status != entrain.FindingOK {
			t.Errorf("%+v", f)
		}
	}
	if len(report.Findings) == 0 {
		t.Error("nothing was examined")
	}
}
