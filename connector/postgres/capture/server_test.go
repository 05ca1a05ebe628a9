package capture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// pump reads and acknowledges everything until the session ends, and returns
// where the error goes.
func pump(ctx context.Context, r *reader) <-chan error {
	done := make(chan error, 1)
	go func() {
		for {
			b, err := r.Read(ctx)
			if err != nil {
				done <- err
				return
			}
			through := b.Through
			if b.Free != nil {
				b.Free()
			}
			if !through.IsZero() {
				err = r.Ack(ctx, through)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	return done
}

// TestSlotMovesWhileWeWait: a session that waits for the slot finds that its
// former holder has confirmed more. To begin there would be a silent jump (P5).
func TestSlotMovesWhileWeWait(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		from := createSlot(t, src)
		holder := openReader(t, src, from)
		opened := make(chan error, 1)
		go func() {
			r, err := src.Open(t.Context(), from)
			if err == nil {
				r.Close()
			}
			opened <- err
		}()
		pgtest.Eventually(t, sourcePatience, "the second session waits", func() bool {
			return pgtest.QueryOne(t, url, fmt.Sprintf(
				"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = 'entrain_%s'",
				src.cfg.Pipeline)) == "2"
		})
		pgtest.Exec(t, url, "INSERT INTO t VALUES (20, 'x')")
		if err := holder.Ack(t.Context(), captureLines(t, holder, 1).last(t)); err != nil {
			t.Fatal(err)
		}
		closeReader(t, holder)
		expectStop(t, <-opened, "slot_ahead")
	})
}

// TestFastShutdown: a server that shuts down asks how far we are and is told,
// also when only changes that are not ours were written (P7).
func TestFastShutdown(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable, "CREATE TABLE other (v int)", "CREATE PUBLICATION pub FOR TABLE t")
		src := newTestSource(t, url)
		r := openReader(t, src, createSlot(t, src))
		done := pump(t.Context(), r)
		pgtest.Exec(t, url, "INSERT INTO other VALUES (1)")
		ctx, cancel := context.WithTimeout(t.Context(), idleMaxTime/2)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			t.Fatalf("the server did not stop: %v", err)
		}
		if err := <-done; !entrain.IsRetryable(err) {
			t.Errorf("the session ended with %v, which is not retryable", err)
		}
	})
}

// TestSynchronousCommit: where commits wait for us, those of tables that are
// not ours do not wait for the next idle position.
func TestSynchronousCommit(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable, "CREATE TABLE other (v int)", "CREATE PUBLICATION pub FOR TABLE t")
		cfg := sourceConfig(t, url)
		pgtest.Exec(t, url, fmt.Sprintf("ALTER SYSTEM SET synchronous_standby_names = 'entrain_%s'", cfg.Pipeline),
			"SELECT pg_reload_conf()")
		src := mustSource(t, cfg)
		pgtest.Exec(t, url, "SET synchronous_commit = off; SELECT pg_create_logical_replication_slot('"+cfg.Slot+"', 'pgoutput')")
		r := openReader(t, src, entrain.Position{})
		if !r.fb.eager {
			t.Fatal("the session does not know that commits wait for it")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := pump(ctx, r)
		for _, table := range []string{"t (id)", "other"} {
			began := time.Now()
			pgtest.Exec(t, url, "INSERT INTO "+table+" VALUES (1)")
			if took := time.Since(began); took > idleMaxTime/2 {
				t.Errorf("a commit on %s took %s", table, took)
			}
		}
		cancel()
		<-done
	})
}
