package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// slow is an engine whose orders take until their context ends, and a little.
type slow struct {
	fakeEngine
	name string
	done chan error
}

func (s *slow) Letters(context.Context) ([]parking.Letter, error) { return nil, nil }

func (s *slow) Status() pipeline.Status { return pipeline.Status{Phase: s.name} }

func (s *slow) Do(ctx context.Context, _ pipeline.Order) error {
	<-ctx.Done()
	<-time.After(time.Second)
	s.done <- ctx.Err()
	return ctx.Err()
}

func (s *slow) Tables(context.Context) ([]pipeline.TableStatus, error) {
	return []pipeline.TableStatus{{Table: s.name}}, nil
}

func restarts(err error) bool {
	var stop *core.Stop
	return errors.As(err, &stop) && stop.Code == "restarting"
}

// An engine that is replaced has no order under way any more when the next one
// begins; the one who waits for an order is told, and may type it again.
func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{name: "shop", started: time.Now()}
		first := &slow{name: "one", done: make(chan error, 1)}
		d.put(t.Context(), first)
		result := make(chan error, 1)
		go func() { result <- d.Do(t.Context(), pipeline.Order{}) }()
		synctest.Wait()
		d.retire()
		select {
		case <-first.done:
		default:
			t.Error("an order goes on after its engine was retired")
		}
		if err := <-result; !restarts(err) {
			t.Errorf("the order ended with %v", err)
		}
		if _, err := d.Tables(t.Context()); !restarts(err) {
			t.Errorf("between two engines: %v", err)
		}
		if r := d.Report(); r.Status.Phase != "one" || r.Pipeline != "shop" || r.PID == 0 {
			t.Errorf("between two engines: %+v", r)
		}
		d.put(t.Context(), &slow{name: "two"})
		tables, err := d.Tables(t.Context())
		if err != nil || len(tables) != 1 || tables[0].Table != "two" || d.Report().Status.Phase != "two" {
			t.Errorf("after: %v, %v", tables, err)
		}
		d.retire()
		d.retire()
	})
}

// Who goes away gives up an order, without being told anything about restarts.
func TestDeskGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		d.put(t.Context(), &slow{done: make(chan error, 1)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.Do(ctx, pipeline.Order{}); restarts(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		d.retire()
	})
}
