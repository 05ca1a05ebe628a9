package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// promised is a contract for the standard table, whose names begin with a digit above 0.
func promised(t *testing.T, change func(*contract.Contract)) []*contract.Contract {
	t.Helper()
	null := false
	c := &contract.Contract{File: "contracts/standard.yaml", Table: "public.conformance", Columns: []contract.Column{
		{Name: "id", Type: "bigint", Key: true}, {Name: "name", Type: "text", Nullable: &null, Pattern: "^[1-9]"}}}
	if change != nil {
		change(c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return []*contract.Contract{c}
}

// named commits transactions with one bad name: the third event of the fourth
// transaction.
func named(src *entraintest.MemorySource) (ids []string) {
	table := entraintest.StandardTable()
	for n := range 8 {
		var events []entrain.Event
		for k := range 4 {
			name := "1"
			if n == 3 && k == 2 {
				name = "bad"
			}
			events = append(events, entraintest.Insert(table, entraintest.Text(fmt.Sprint(10*n+k)), entraintest.Text(name), entraintest.Null, entraintest.Null))
			ids = append(ids, fmt.Sprintf("source/memory/%d/%d", 1000*(n+1), k))
		}
		src.Commit(events...)
	}
	return ids
}

// TestContractLevels: what becomes of a row that breaks its contract at each level,
// and what the status of the contract makes of the level.
func TestContractLevels(t *testing.T) {
	for _, c := range []struct {
		level   contract.Level
		status  contract.Status
		breaks  int64
		warns   int
		stopped bool
	}{
		{contract.Off, contract.Active, 0, 0, false},
		{contract.Warn, contract.Active, 1, 1, false},
		{contract.Stop, contract.Proposed, 1, 1, false},
		{contract.Stop, contract.Active, 1, 0, true},
		{contract.Stop, contract.Retired, 4, 0, true},
		{contract.Warn, contract.Retired, 32, 1, false},
		{contract.Warn, contract.Deprecated, 1, 2, false},
	} {
		t.Run(string(c.level)+" "+string(c.status), func(t *testing.T) {
			src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
			ids := named(src)
			sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
			var log bytes.Buffer
			all := promised(t, func(of *contract.Contract) { of.Status = c.status })
			p, err := run(t, pipeline.Options{Source: src, Sink: sink, Contracts: &pipeline.Contracts{All: all, Level: c.level},
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			var stop *entrain.Stop
			if errors.As(err, &stop) != c.stopped || !c.stopped && err != nil {
				t.Fatal(err)
			}
			if n := p.Status().ContractBreaches["public.conformance"]; n != c.breaks {
				t.Errorf("%d breaches are counted, want %d", n, c.breaks)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != c.warns {
				t.Errorf("%d warnings, want %d:\n%s", n, c.warns, &log)
			}
			if got := sink.IDs(); !c.stopped && !slices.Equal(got, ids) || c.stopped && (len(got) > 12 || !slices.Equal(got, ids[:len(got)])) {
				t.Errorf("delivered %v", got)
			}
		})
	}
}

// TestContractStop: it names table, column, event, both sides and where the sink is;
// with a contract that has the value, the next run goes on without a gap (P1).
func TestContractStop(t *testing.T) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 2})
	ids := named(src)
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	_, err := run(t, pipeline.Options{Source: src, Sink: sink, Contracts: &pipeline.Contracts{All: promised(t, nil), Level: contract.Stop}})
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != "contract_broken" || !stop.Data {
		t.Fatal(err)
	}
	for _, want := range []string{"insert of table public.conformance", "source/memory/4000/2", "contracts/standard.yaml", `column name: contract has pattern ^[1-9], row has "bad"`, "at position "} {
		if !strings.Contains(stop.What, want) {
			t.Errorf("what happened lacks %q: %s", want, stop.What)
		}
	}
	if !strings.Contains(stop.Next, "standard.yaml, column name") || !strings.Contains(stop.Next, "entrain run FILE") {
		t.Errorf("next: %s", stop.Next)
	}
	all := promised(t, func(c *contract.Contract) { c.Columns[1].Pattern = "" })
	if _, err := run(t, pipeline.Options{Source: src, Sink: sink, Contracts: &pipeline.Contracts{All: all, Level: contract.Stop}}); err != nil {
		t.Fatal(err)
	}
	if got := sink.IDs(); !slices.Equal(got, ids) {
		t.Errorf("delivered %v, want %v", got, ids)
	}
}

// TestContractDeadLetter: an event that breaks its contract is parked with its
// transaction, however large, without a new try at the sink; the others flow; what is
// captured is applied or parked.
func TestContractDeadLetter(t *testing.T) {
	for _, unit := range []parking.Unit{parking.Transactions, parking.Events} {
		for _, size := range []int{0, 1, 2, 3} {
			t.Run(fmt.Sprintf("unit %d, batches of %d", unit, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { parkBroken(t, unit, size) })
			})
		}
	}
}

func parkBroken(t *testing.T, unit parking.Unit, size int) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: size})
	ids := named(src)
	box := &letterBox{letters: map[string]parking.Letter{}}
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, BatchBytes: 1,
		DeadLetters: &pipeline.DeadLetters{Store: box, Rules: parking.Rules{Unit: unit, Attempts: 3}},
		Contracts:   &pipeline.Contracts{All: promised(t, nil), Level: contract.DeadLetter}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	<-time.After(time.Minute)
	const bad = "source/memory/4000/2"
	parked := []string{bad}
	if unit == parking.Transactions {
		parked = idsOf(4000, 4)
	}
	if got := box.ids(); !slices.Equal(got, parked) {
		t.Errorf("parked %v, want %v", got, parked)
	}
	l := box.letters[bad]
	if l.Class != "contract_broken" || l.Behind != "" || !strings.Contains(l.Reason, `row has "bad"`) || !strings.Contains(l.Reason, "standard.yaml") {
		t.Errorf("the letter is %+v", l)
	}
	flow := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(parked, id) })
	if got := sink.IDs(); !slices.Equal(got, flow) {
		t.Errorf("delivered %v, want %v", got, flow)
	}
	st := p.Status()
	if st.Captured != st.Applied+st.Parked+st.Reread || int(st.Parked) != len(parked) || st.ContractBreaches["public.conformance"] < 1 {
		t.Errorf("status %+v", st)
	}
	if n, err := p.Replay(t.Context(), nil); err != nil || n != len(parked) || len(sink.IDs()) != len(ids) {
		t.Errorf("replayed %d: %v", n, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestContractBehindRules: what the rules leave out is held to nothing; what they let
// through is, by its names at the source.
func TestContractBehindRules(t *testing.T) {
	for leave, stops := range map[uint64]bool{4000: false, 5000: true} {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		named(src)
		rules := func(b *entrain.Batch) (*entrain.Batch, error) {
			out := &entrain.Batch{Through: b.Through, Bytes: b.Bytes, Free: b.Free}
			for _, e := range b.Events {
				if e.Tx.Version == leave {
					out.Filtered++
					continue
				}
				if e.Table != nil {
					renamed := *e.Table
					renamed.Name = "elsewhere"
					e.Table = &renamed
				}
				out.Events = append(out.Events, e)
			}
			return out, nil
		}
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		p, err := run(t, pipeline.Options{Source: src, Sink: sink, Transform: rules, Contracts: &pipeline.Contracts{All: promised(t, nil), Level: contract.Stop}})
		if stopped := err != nil && strings.Contains(err.Error(), "contract_broken"); stopped != stops {
			t.Errorf("without transaction %d: %v", leave, err)
		}
		if n := p.Status().ContractBreaches["public.conformance"]; (n > 0) != stops {
			t.Errorf("without transaction %d: %d breaches", leave, n)
		}
	}
}

// TestContractNeedsLetters: breaches cannot be parked where nothing is.
func TestContractNeedsLetters(t *testing.T) {
	_, err := pipeline.New(pipeline.Options{Source: entraintest.NewMemorySource(entraintest.MemorySourceConfig{}),
		Sink: entraintest.NewMemorySink(entraintest.MemorySinkConfig{}), Contracts: &pipeline.Contracts{All: promised(t, nil), Level: contract.DeadLetter}})
	if err == nil || !strings.Contains(err.Error(), "DeadLetters") {
		t.Error(err)
	}
}
