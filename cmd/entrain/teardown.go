package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/stream"
)

func (p *program) teardownCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "teardown FILE",
		Short: "Remove what a pipeline left at its servers and here: slot, publication, position, state",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			ask := p.confirm
			if yes {
				ask = func(int) error { return nil }
			}
			return p.teardown(cmd.Context(), l, ask)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// teardown lists, asks, removes. The state's lock is held meanwhile, so that
// nothing is taken away from a pipeline that runs.
func (p *program) teardown(ctx context.Context, l *loaded, ask func(int) error) (err error) {
	held, err := store.Hold(l.file.State.Dir, l.file.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	removals, err := l.removals(ctx, held)
	if err != nil {
		return err
	}
	if len(removals) == 0 {
		fmt.Fprintf(p.stdout, "nothing of pipeline %s is left\n", l.file.Name)
		return nil
	}
	fmt.Fprintf(p.stdout, "teardown of pipeline %s removes:\n", l.file.Name)
	for _, r := range removals {
		fmt.Fprintf(p.stdout, "  %s\n      %s\n", r.What, strings.ReplaceAll(r.SQL, "\n", "\n      "))
	}
	if err := ask(len(removals)); err != nil {
		return err
	}
	return p.remove(ctx, removals)
}

// removals asks source and sink; the state comes last, since it is needed
// until everything else is gone.
func (l *loaded) removals(ctx context.Context, held *store.Held) ([]entrain.Removal, error) {
	all, err := l.removalsAtServers(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for what pipeline %s left: %w", l.file.Name, err)
	}
	others, err := l.lettersElsewhere(ctx, held.Folder())
	if err != nil {
		return nil, err
	}
	parts, err := l.statesOfDeliveries()
	if err != nil {
		return nil, err
	}
	all = append(append(all, others...), parts...)
	if held.Exists() {
		all = append(all, entrain.Removal{
			What: "state folder " + held.Folder(),
			SQL:  fmt.Sprintf("rm -r %q", held.Folder()),
			Do: func(context.Context) error {
				return errors.Join(admin.Remove(held.Folder()), held.Remove())
			},
		})
	}
	return all, nil
}

// removalsAtServers asks source, sinks, these for each partition of the stream, too, and
// the stream, which comes last: without it nobody knows what its partitions were. What
// two of them would remove is removed once.
func (l *loaded) removalsAtServers(ctx context.Context) ([]entrain.Removal, error) {
	var streams, others once
	for _, end := range l.ends() {
		list := &others
		if l.log != nil && end == any(l.log) { // before its partitions are asked for, which opens it
			list = &streams
		}
		if err := list.add(ctx, end); err != nil {
			return nil, err
		}
	}
	if l.log == nil {
		return others.list, nil
	}
	err := l.eachDelivery(ctx, func(_ stream.Partition, sink entrain.Sink) error { return others.add(ctx, sink) })
	if closer, ok := l.log.(io.Closer); ok { // an embedded one is removed later
		err = errors.Join(err, closer.Close())
	}
	return append(others.list, streams.list...), err
}

// once is removals of different things.
type once struct {
	list  []entrain.Removal
	known map[[2]string]bool
}

// add asks an end of the pipeline what it left.
func (o *once) add(ctx context.Context, end any) error {
	t, ok := end.(entrain.Teardowner)
	if !ok {
		return nil
	}
	if o.known == nil {
		o.known = map[[2]string]bool{}
	}
	some, err := t.Teardown(ctx)
	for _, r := range some {
		if id := [2]string{r.What, r.SQL}; !o.known[id] {
			o.known[id] = true
			o.list = append(o.list, r)
		}
	}
	return err
}

// eachDelivery calls do with every sink as it is for every partition of the stream.
func (l *loaded) eachDelivery(ctx context.Context, do func(at stream.Partition, sink entrain.Sink) error) error {
	partitions, err := l.log.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("look for the stream's partitions: %w", err)
	}
	for _, end := range l.deliveries() {
		for _, at := range partitions {
			env := end.env
			env.Pipeline = deliveryName(l.file.Name, end.name(), at)
			sink, err := end.build(env)
			if err == nil {
				err = do(at, sink)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// statesOfDeliveries are the folders of what delivers from a stream. One that a
// process holds is an error.
func (l *loaded) statesOfDeliveries() ([]entrain.Removal, error) {
	var all []entrain.Removal
	for _, folder := range []string{l.sinkFolder(), l.workerFolder()} {
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			held, err := store.Hold(folder, e.Name())
			if err == nil {
				err = held.Close()
			}
			if err != nil {
				return nil, err
			}
		}
		all = append(all, entrain.Removal{
			What: "states of deliveries in " + folder,
			SQL:  fmt.Sprintf("rm -r %q", folder),
			Do:   func(context.Context) error { return os.RemoveAll(folder) },
		})
	}
	return all, nil
}

func (p *program) remove(ctx context.Context, removals []entrain.Removal) error {
	for i, r := range removals {
		if err := r.Do(ctx); err != nil {
			return fmt.Errorf("remove %s (%d of %d are removed): %w", r.What, i, len(removals), err)
		}
		fmt.Fprintf(p.stdout, "removed %s\n", r.What)
	}
	return nil
}

// confirm asks a person; where there is none it refuses.
func (p *program) confirm(n int) error {
	return p.ask(fmt.Sprintf("remove these %d things? [y/N] ", n), "nothing was removed")
}

// ask puts a question to a person; nil means yes. No and nobody are errors that
// say that nothing was done.
func (p *program) ask(question, nothing string) error {
	refused := usageError{errors.New(nothing + ": without a terminal to ask at, --yes is needed")}
	if !isTerminal(p.stdin) {
		return refused
	}
	fmt.Fprint(p.stderr, question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if errors.Is(err, io.EOF) && answer == "" {
		return refused
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New(nothing)
}
