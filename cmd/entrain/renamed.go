package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
)

// codeRenamed is the finding about a sink that seems to have another name now.
const codeRenamed = "sink_renamed"

// positioned is a sink that tells which deliveries of a pipeline it has positions of.
type positioned interface {
	PositionsOf(ctx context.Context, pipeline string) ([]string, error)
}

// former returns the names of sinks that the file does not have and of which there is a
// position at the target of this one, which has none under its own name.
func (l *loaded) former(ctx context.Context, name string, sink entrain.Sink) []string {
	keeper, ok := sink.(positioned)
	if !ok {
		return nil
	}
	keys, err := keeper.PositionsOf(ctx, l.file.Name)
	if err != nil {
		return nil // what cannot be reached is told elsewhere
	}
	var gone []string
	for _, key := range keys {
		other, _, _ := strings.Cut(strings.TrimPrefix(key, l.file.Name+":"), ":")
		other, _, _ = strings.Cut(other, ".") // the class
		if other == name {
			return nil
		}
		known := slices.ContainsFunc(l.sinks, func(end sinkEnd) bool { return end.section.Name == other })
		if !known && !slices.Contains(gone, other) {
			gone = append(gone, other)
		}
	}
	return gone
}

// renamedPatience bounds the look for positions under other names.
const renamedPatience = 10 * time.Second

// explainRenamed adds to the stop of a sink that the stream has nothing for that it may
// be one which had another name: what it has is not to be filled again over it.
func (l *loaded) explainRenamed(ctx context.Context, end sinkEnd, sink entrain.Sink, err error) error {
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != "stream_overrun" {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, renamedPatience)
	defer cancel()
	gone := l.former(asking, end.section.Name, sink)
	if len(gone) == 0 {
		return err
	}
	more := *stop
	more.What += "; at its target is the position of " + l.positionNames(gone) + ", which FILE does not have any more"
	more.Next = renamedNext(end.section.Name, gone) + "\nor, if it is another one: empty the tables at this target first (TRUNCATE …), " +
		"since rows that were deleted meanwhile would stay; then: " + stop.Next
	return &more
}

func (l *loaded) positionNames(sinks []string) string {
	return l.file.Name + ":" + strings.Join(sinks, ", "+l.file.Name+":")
}

// renamedNext is how a sink gets its name back.
func renamedNext(name string, gone []string) string {
	return fmt.Sprintf("if sink %s was renamed, give it the old name back in FILE (name: %s), and kill -HUP the process", name, strings.Join(gone, " or "))
}

// checkRenamed examines the names of sinks behind a stream.
func (l *loaded) checkRenamed(ctx context.Context, timeout time.Duration) []entrain.Finding {
	if l.log == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	f := entrain.Finding{Code: codeRenamed, Object: "pipeline file", Doc: "stream.md#" + codeRenamed}
	for _, end := range l.sinks {
		if gone := l.former(ctx, end.section.Name, end.sink); len(gone) > 0 {
			f.Status = entrain.FindingWarning
			f.Why = fmt.Sprintf("sink %s has no position at its target, where the position of %s is, which the file does not have: %s; else empty its tables before it begins",
				end.section.Name, l.positionNames(gone), renamedNext(end.section.Name, gone))
		}
	}
	return []entrain.Finding{f}
}
