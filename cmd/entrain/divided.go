package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout"
)

// division is how many partitions feed a sink, each by itself.
type division int

// division refuses a sink that several partitions cannot feed.
func (l *loaded) division(ctx context.Context, end sinkEnd) (division, error) {
	list, err := l.log.Partitions(ctx)
	if err != nil {
		return 0, fmt.Errorf("look for the stream's partitions: %w", err)
	}
	if undivided, ok := end.sink.(entrain.Undivided); ok && len(list) > 1 {
		return 0, &entrain.Stop{
			Code: "sink_partitions",
			What: fmt.Sprintf("the stream has %d partitions, and the sink %s, of type %s, can be fed by one", len(list), end.section.Name, end.section.Type),
			Why:  undivided.Undivided(),
			Next: "take the sink out of FILE and give it a pipeline of its own, or use a stream of one partition (partitions: 1); entrain run FILE",
		}
	}
	return division(len(list)), nil
}

// explained adds to what a target refuses that what is missing there may be on its
// way.
func (n division) explained(d *fanout.Delivery) *fanout.Delivery {
	if n < 2 || d == nil {
		return d
	}
	inner := d.Explain
	d.Explain = func(ctx context.Context, err error) error {
		if inner != nil {
			err = inner(ctx, err)
		}
		return n.explain(err)
	}
	return d
}

// explain is about references and values that must be unique: rows that are on
// their way through other partitions.
func (n division) explain(err error) error {
	var stop *entrain.Stop
	var coded interface{ SQLState() string }
	if n < 2 || !errors.As(err, &stop) || !errors.As(err, &coded) {
		return err
	}
	more := *stop
	switch coded.SQLState() {
	case "23503":
		more.Why += fmt.Sprintf("; the stream has %d partitions, each delivered by itself: the other row may be on its way through another one. "+
			"This delivery is tried again until it is there; partitions that wait for each other do so for ever", n)
		more.Next = "do not check the reference at the target: ALTER TABLE … DROP CONSTRAINT (NOT VALID does not help), or ALTER ROLE … SET session_replication_role = replica; " +
			"or use a stream with partitions: 1 (docs/kafka.md). See: entrain check FILE --only partition_references\n" + more.Next
	case "23505", "23P01":
		more.Why += fmt.Sprintf("; the stream has %d partitions, each delivered by itself: the change that gives the value away may be on its way through another one. "+
			"This delivery is tried again until it is there; partitions that wait for each other do so for ever", n)
	default:
		return err
	}
	return &more
}
