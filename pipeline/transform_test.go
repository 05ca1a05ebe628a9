package pipeline_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// everyThird leaves out every third transaction of a memory source.
func everyThird(b *entrain.Batch) (*entrain.Batch, error) {
	out := &entrain.Batch{Through: b.Through, Bytes: b.Bytes, Free: b.Free}
	for _, e := range b.Events {
		if e.Tx.Version/1000%3 == 0 {
			out.Filtered++
			continue
		}
		out.Events = append(out.Events, e)
	}
	return out, nil
}

// TestTransformKeepsTheBalance breaks the path at every boundary while a
// transform leaves events out: what it leaves through arrives once and in
// order, and captured = applied + filtered + reread (P1, P2, P3).
func TestTransformKeepsTheBalance(t *testing.T) {
	for _, point := range []pipeline.Point{"never", pipeline.PointReceived, pipeline.PointWriting,
		pipeline.PointDurable, pipeline.PointSaved, pipeline.PointAcked} {
		for visit := range 4 {
			t.Run(fmt.Sprintf("%s/%d", point, visit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { filterAndFail(t, point, visit) })
			})
		}
	}
}

func filterAndFail(t *testing.T, point pipeline.Point, visit int) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 2})
	table := entraintest.StandardTable()
	var want []string
	var all, filtered int64
	for i := 1; i <= 20; i++ {
		id := entraintest.Text(fmt.Sprint(i))
		e := entraintest.Insert(table, id, id, id, entraintest.Null)
		src.Commit(e, entraintest.Message("m", ""))
		all += 2
		if i%3 == 0 {
			filtered += 2
			continue
		}
		for n := range 2 {
			want = append(want, fmt.Sprintf("source/memory/%d/%d", 1000*i, n))
		}
	}
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	visits := 0
	p, err := run(t, pipeline.Options{Source: src, Sink: sink, BatchBytes: 1 + visit%2<<20, Transform: everyThird,
		Failpoint: func(at pipeline.Point) error {
			if at != point {
				return nil
			}
			if visits++; visits == visit+1 {
				return entrain.Retryable(errors.New("injected"))
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if got := sink.IDs(); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	st := p.Status()
	if st.Captured != st.Applied+st.Filtered+st.Reread || st.Applied+st.Filtered < all-2 || st.Filtered > filtered || st.Filtered < filtered-2 {
		t.Errorf("captured %d ≠ applied %d + filtered %d + reread %d; %d events, %d to filter",
			st.Captured, st.Applied, st.Filtered, st.Reread, all, filtered)
	}
	if point == "never" && (st.Filtered != filtered || st.Reread != 0) {
		t.Errorf("status %+v", st)
	}
	if src.Outstanding() != 0 {
		t.Errorf("%d batches were not freed", src.Outstanding())
	}
}

// TestTransformRefuses: what the transform cannot judge ends the pipeline, and
// nothing of it or behind it is delivered (P1).
func TestTransformRefuses(t *testing.T) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
	history(src, 5)
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	stop := &entrain.Stop{Code: "test_refused"}
	n := 0
	_, err := run(t, pipeline.Options{Source: src, Sink: sink, Transform: func(b *entrain.Batch) (*entrain.Batch, error) {
		if n++; n == 3 {
			return nil, stop
		}
		return b, nil
	}})
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if commits := sink.Commits(); len(commits) > 2 {
		t.Errorf("%d commits", len(commits))
	}
	if src.Outstanding() != 0 {
		t.Errorf("%d batches were not freed", src.Outstanding())
	}
}
