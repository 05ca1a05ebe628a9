package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/store"
)

func (p *program) captureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "capture FILE",
		Short: "Run the first half of a pipeline with a stream: from the source into the stream",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := p.loadHalf(args[0], captureOnly)
			if err != nil {
				return err
			}
			if l.source == nil {
				return usageError{errors.New("capture: the file has no source")}
			}
			return p.runPipeline(cmd.Context(), l)
		},
	}
}

func (p *program) deliverCommand() *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use:   "deliver FILE",
		Short: "Run the second half of a pipeline with a stream: from the stream into its sinks; several processes share the work",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := p.loadHalf(args[0], deliverOnly)
			if err != nil {
				return err
			}
			if only != "" || len(l.sinks) == 0 {
				if _, err := l.sinkNamed("deliver", only); err != nil {
					return err
				}
			}
			l.only = only
			return p.runPipeline(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&only, "sink", "", "deliver into this one of the file's sinks only, by its `name`")
	return cmd
}

// loadHalf reads the file of a pipeline of which this process does one half.
func (p *program) loadHalf(path string, h half) (*loaded, error) {
	l, err := p.loadAs(path, h)
	if err != nil {
		return nil, err
	}
	if !l.file.External() {
		return nil, usageError{errors.New("the halves of a pipeline meet in a stream that both reach: " +
			"stream.type is to be kafka, nats or redis; entrain run FILE does both halves in one process")}
	}
	return l, nil
}

// mostWorkers bounds the delivering processes of one pipeline on one machine.
const mostWorkers = 64

// openState opens the state that the process holds while it runs. Several
// processes may deliver: each has the first that is free.
func (l *loaded) openState() (*store.Store, error) {
	if l.half != deliverOnly {
		return store.Open(l.file.State.Dir, l.file.Name)
	}
	folder := l.workerFolder()
	var locked *entrain.Stop
	for n := 1; n <= mostWorkers; n++ {
		state, err := store.Open(folder, strconv.Itoa(n))
		if !errors.As(err, &locked) || locked.Code != "state_locked" {
			return state, err
		}
	}
	return nil, fmt.Errorf("%d processes deliver for pipeline %s on this machine already: %w", mostWorkers, l.file.Name, locked)
}

// workerFolder is where the states of delivering processes are.
func (l *loaded) workerFolder() string {
	return filepath.Join(store.Folder(l.file.State.Dir, l.file.Name), "workers")
}
