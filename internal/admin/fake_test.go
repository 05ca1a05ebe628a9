package admin

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/entrainsync/entrain/pipeline"
)

// fake is an engine that answers what it is told to, and keeps its orders.
type fake struct {
	report  Report
	tables  []pipeline.TableStatus
	schemas []pipeline.SchemaHistory
	letters []json.RawMessage
	err     error
	wait    chan struct{} // Do returns when it is closed or the context ends; nil: at once

	mu     sync.Mutex
	orders []pipeline.Order
	gone   chan struct{} // closed when the context of a waiting order ended
}

func (f *fake) Report() Report { return f.report }

func (f *fake) Tables(context.Context) ([]pipeline.TableStatus, error) { return f.tables, f.err }

func (f *fake) Schemas() []pipeline.SchemaHistory { return f.schemas }

func (f *fake) Letters(context.Context) ([]json.RawMessage, error) { return f.letters, f.err }

func (f *fake) Replay(_ context.Context, r Replay) (json.RawMessage, error) {
	done, _ := json.Marshal(r)
	return done, f.err
}

func (f *fake) Do(ctx context.Context, o pipeline.Order) error {
	f.mu.Lock()
	f.orders = append(f.orders, o)
	f.mu.Unlock()
	if f.wait == nil {
		return f.err
	}
	select {
	case <-f.wait:
		return f.err
	case <-ctx.Done():
		close(f.gone)
		return ctx.Err()
	}
}

// begun reports how many orders have come.
func (f *fake) begun() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.orders)
}
