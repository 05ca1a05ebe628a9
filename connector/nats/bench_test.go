package nats

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// BenchmarkEmbedded appends small events to the embedded stream, in batches as the
// engine makes them when there is much to do, and reads them again. An operation
// is an event, once each way.
func BenchmarkEmbedded(b *testing.B) {
	l, err := NewEmbedded(EmbeddedConfig{Dir: b.TempDir(), Config: Config{Producer: "shop"}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	w, err := l.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	if _, err := w.(entrain.Positioner).Position(b.Context()); err != nil {
		b.Fatal(err)
	}
	batch := smallEvents(30_000)
	began, cpu := time.Now(), cpuTime()
	b.ResetTimer()
	for n := 0; n < b.N; {
		part := *batch
		part.Events = part.Events[:min(len(part.Events), b.N-n)]
		n += len(part.Events)
		part.Through.Offset = strconv.Itoa(n)
		if err := w.Write(b.Context(), &part); err != nil {
			b.Fatal(err)
		}
	}
	half, halfCPU := time.Now(), cpuTime()
	readAll(b, l)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(n/half.Sub(began).Seconds(), "appended/s")
	b.ReportMetric(n/time.Since(half).Seconds(), "read/s")
	b.ReportMetric(float64(halfCPU-cpu)/n, "append-cpu-ns/op")
	b.ReportMetric(float64(cpuTime()-halfCPU)/n, "read-cpu-ns/op")
}

// BenchmarkCommit appends one small transaction after the other.
func BenchmarkCommit(b *testing.B) {
	l, err := NewEmbedded(EmbeddedConfig{Dir: b.TempDir(), Config: Config{Producer: "shop"}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	w, err := l.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	if _, err := w.(entrain.Positioner).Position(b.Context()); err != nil {
		b.Fatal(err)
	}
	batch := smallEvents(3)
	b.ResetTimer()
	for n := range b.N {
		batch.Through.Offset = strconv.Itoa(n)
		if err := w.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func readAll(b *testing.B, l *Log) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	r, err := l.Read("c", "shop").Open(ctx, entrain.Position{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for n := 0; n < b.N; {
		got, err := r.Read(ctx)
		if err != nil {
			b.Fatal(err)
		}
		n += len(got.Events)
		got.Free()
	}
}

// smallEvents are transactions of three rows of about 60 bytes.
func smallEvents(n int) *entrain.Batch {
	batch := &entrain.Batch{Through: entrain.Position{Incarnation: "bench"}}
	s := &entrain.Stream{Source: "shop", Incarnation: "bench", Database: "shop"}
	var tx *entrain.Transaction
	for i := range n {
		if i%3 == 0 {
			tx = &entrain.Transaction{Stream: s, ID: uint64(i), Version: uint64(i + 1), CommitTime: time.Unix(1_700_000_000, 0)}
		}
		e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text(strconv.Itoa(100_000+i)), entraintest.Text("a name of a thing"),
			entraintest.Text("and a body of it"), entraintest.Text("12.50"))
		e.Tx, e.Ordinal = tx, uint64(i%3)
		batch.Events = append(batch.Events, e)
	}
	return batch
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
