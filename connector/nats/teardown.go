package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// Teardown implements [entrain.Teardowner]: what the log has kept, of this
// producer only. An embedded stream that a process has open is the stop
// stream_in_use.
func (l *Log) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	if l.server != nil {
		return l.server.teardown()
	}
	return l.backend.teardown(ctx, l.producer)
}

// jetStreamFolder is what the server makes in its folder.
const jetStreamFolder = "jetstream"

func (e *embedded) teardown() ([]entrain.Removal, error) {
	if _, err := os.Stat(e.dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("look for the stream: %w", err)
	}
	if err := e.unused(); err != nil {
		return nil, err
	}
	return []entrain.Removal{{
		What: "stream in " + e.dir,
		SQL:  fmt.Sprintf("rm -r %q", e.dir),
		Do:   func(context.Context) error { return e.remove() },
	}}, nil
}

// unused is an error if a process has the folder.
func (e *embedded) unused() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return errors.New("the embedded stream is open")
	}
	lock, err := e.take()
	if err != nil {
		return err
	}
	return lock.Close()
}

// remove deletes what the server has made, and the folder if nothing else is in
// it.
func (e *embedded) remove() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := os.Stat(e.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := e.take()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.RemoveAll(filepath.Join(e.dir, jetStreamFolder)); err != nil {
		return fmt.Errorf("remove the stream: %w", err)
	}
	if err := os.Remove(filepath.Join(e.dir, lockName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the stream: %w", err)
	}
	if left, err := os.ReadDir(e.dir); err != nil || len(left) > 0 {
		return err
	}
	return os.Remove(e.dir)
}

// teardown lists the two streams of a producer, as far as they are there.
func (b *backend) teardown(ctx context.Context, producer string) ([]entrain.Removal, error) {
	nc, js, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	var all []entrain.Removal
	for _, name := range []string{b.name + "_" + token(producer), b.name + "=values_" + token(producer)} {
		switch _, err := js.Stream(ctx, name); {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("look for stream %s: %w", name, mark(ctx, err))
		}
		all = append(all, entrain.Removal{
			What: fmt.Sprintf("JetStream stream %s on %s", name, b.url),
			SQL:  "nats stream rm --force " + name,
			Do:   func(ctx context.Context) error { return b.removeStream(ctx, name) },
		})
	}
	return all, nil
}

func (b *backend) removeStream(ctx context.Context, name string) error {
	nc, js, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove stream %s: %w", name, mark(ctx, err))
	}
	return nil
}
