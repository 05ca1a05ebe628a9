package capture

import (
	"net/url"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// stranger is a source of the same pipeline for a role that has no right.
func stranger(t *testing.T, cfg Config, server string) *Source {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("stranger")
	cfg.URL = connector.Secret(u.String())
	return mustSource(t, cfg)
}

// behind asks as the source's role whether a sink at the position has everything.
func behind(t *testing.T, src *Source, sink entrain.Position) string {
	t.Helper()
	d, err := src.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h := d.(entrain.Horizon)
	end, err := h.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	why := ""
	for range 3 {
		if why, err = h.Behind(t.Context(), sink, end); err != nil {
			t.Fatal(err)
		}
	}
	return why
}

// TestBehindMovesThePosition: a role that the server does not show how far the
// session is gets the position to move, by one message for each end.
func TestBehindMovesThePosition(t *testing.T) {
	major := pgtest.Majors(t)[0]
	srv := pgtest.Start(t, major, nil)
	pgtest.Exec(t, srv.URL("postgres"), oneTable, "CREATE PUBLICATION pub FOR TABLE t", "CREATE ROLE stranger LOGIN")
	cfg := sourceConfig(t, srv.URL("postgres"))
	src := mustSource(t, cfg)
	at := createSlot(t, src)
	openReader(t, src, at)
	pgtest.Exec(t, srv.URL("postgres"), "CREATE TABLE unpublished (id int)")
	if why := behind(t, stranger(t, cfg, srv.URL("postgres")), at); !strings.Contains(why, "had reached") || strings.Contains(why, "GRANT") {
		t.Errorf("behind: %q", why)
	}
	pgtest.Exec(t, srv.URL("postgres"), "SELECT pg_create_logical_replication_slot('look', 'test_decoding')")
	if n := pgtest.QueryOne(t, srv.URL("postgres"), "SELECT count(*) FROM pg_logical_slot_peek_changes('look', NULL, NULL)"); n != "0" {
		t.Errorf("%s changes before the question", n)
	}
	behind(t, stranger(t, cfg, srv.URL("postgres")), at)
	if n := pgtest.QueryOne(t, srv.URL("postgres"),
		"SELECT count(*) FROM pg_logical_slot_peek_changes('look', NULL, NULL) WHERE data LIKE '%prefix: entrain,%'"); n != "1" {
		t.Errorf("%s messages for one end, want 1", n)
	}
}

// TestBehindOnAStandby: it takes no message, so the right is named.
func TestBehindOnAStandby(t *testing.T) {
	p := startPair(t, majorsFrom(t, 16)[0], nil, nil)
	src := p.source(t)
	at := p.createOnStandby(t, src)
	openStandby(t, src, at)
	p.write(t, "CREATE ROLE stranger LOGIN", "CREATE TABLE unpublished (id int)")
	pgtest.Eventually(t, sourcePatience, "the standby has the role", func() bool {
		return pgtest.QueryOne(t, p.standby.URL("postgres"), "SELECT to_regclass('unpublished') IS NOT NULL") == "t"
	})
	why := behind(t, stranger(t, src.cfg, p.standby.URL("postgres")), at)
	if !strings.Contains(why, `GRANT pg_read_all_stats TO "stranger"`) {
		t.Fatalf("behind: %q", why)
	}
	p.write(t, `GRANT pg_read_all_stats TO "stranger"`)
	pgtest.Eventually(t, sourcePatience, "the right is there", func() bool {
		return !strings.Contains(behind(t, stranger(t, src.cfg, p.standby.URL("postgres")), at), "GRANT")
	})
}
