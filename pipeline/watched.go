package pipeline

import (
	"context"
	"errors"
	"sync"

	"github.com/entrainsync/entrain"
)

// writeWatched writes, and ends when the sink says that its session is over, which it
// may know before anything is written.
func (s *session) writeWatched(work context.Context) error {
	watcher, ok := s.writer.(entrain.Watcher)
	if !ok {
		return s.write(work)
	}
	work, fail := context.WithCancelCause(work)
	var lost error
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case lost = <-watcher.Lost():
			fail(lost)
		case <-work.Done():
		}
	})
	err := s.write(work)
	fail(nil)
	wg.Wait()
	var stop *entrain.Stop
	if err == nil || lost == nil || errors.As(err, &stop) {
		return err
	}
	return fromSink(lost) // what was being written was cut short by it
}
