package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// fakeEngine runs until its context ends, then drains until told otherwise.
type fakeEngine struct {
	drained chan error // what Run returns after ctx; nil channel: at once
}

func (e fakeEngine) Letters(context.Context) ([]parking.Letter, error) { return nil, nil }

func (e fakeEngine) Run(ctx context.Context) error {
	<-ctx.Done()
	if e.drained == nil {
		return nil
	}
	return <-e.drained
}

func (e fakeEngine) Status() pipeline.Status { return pipeline.Status{Phase: "streaming"} }

func (e fakeEngine) Tables(context.Context) ([]pipeline.TableStatus, error) { return nil, nil }

func (e fakeEngine) Schemas() []pipeline.SchemaHistory { return nil }

func (e fakeEngine) Do(context.Context, pipeline.Order) error { return nil }

// send raises a signal of this process as soon as somebody listens.
func send(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		t.Fatal(err)
	}
}

// manager is a service manager that hears sd_notify.
func manager(t *testing.T) (env map[string]string, heard func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "entrain-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return map[string]string{"NOTIFY_SOCKET": path}, func() string {
		buf := make([]byte, 100)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// start supervises the engine until it streams.
func start(t *testing.T, e engine, timeout time.Duration) (result chan error, said func() string, heard func() string) {
	t.Helper()
	env, heard := manager(t)
	p, stderr := talk(env)
	result = make(chan error, 1)
	go func() {
		s := p.supervise(nil)
		defer s.close()
		_, err := s.run(t.Context(), work{engine: e, timeout: timeout})
		result <- err
	}()
	if got := heard(); got != "READY=1" {
		t.Fatalf("the service manager heard %q", got)
	}
	return result, stderr.String, heard
}

// The first signal drains, and a clean drain is a success; SIGHUP and SIGPIPE
// are none of that.
func TestFirstSignalDrains(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		result, said, heard := start(t, fakeEngine{}, time.Minute)
		send(t, syscall.SIGPIPE)
		send(t, syscall.SIGHUP)
		pgtest.Eventually(t, time.Minute, "SIGHUP is heard", func() bool {
			return strings.Contains(said(), "SIGHUP ignored")
		})
		send(t, signal)
		if got := heard(); got != "STOPPING=1" {
			t.Errorf("the service manager heard %q", got)
		}
		if err := <-result; err != nil {
			t.Errorf("%v: %v", signal, err)
		}
		if !strings.Contains(said(), "SIGHUP ignored") || !strings.Contains(said(), "draining") {
			t.Errorf("said %s", said())
		}
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		hangs := fakeEngine{drained: make(chan error)}
		result, _, heard := start(t, hangs, time.Minute)
		send(t, syscall.SIGTERM)
		heard()
		send(t, signal)
		if err := <-result; exitCode(err) != want {
			t.Errorf("%v: %v, exit code %d; want %d", signal, err, exitCode(err), want)
		}
		close(hangs.drained)
	}
}

// A drain that runs out of time ends as its signal would have, whether the
// engine notices or hangs.
func TestDrainThatTakesTooLong(t *testing.T) {
	late := fakeEngine{drained: make(chan error, 1)}
	result, _, heard := start(t, late, time.Minute)
	send(t, syscall.SIGTERM)
	heard()
	late.drained <- errors.Join(errors.New("write"), context.DeadlineExceeded)
	if err := <-result; exitCode(err) != 143 {
		t.Errorf("%v, exit code %d", err, exitCode(err))
	}
	synctest.Test(t, func(t *testing.T) {
		p, _ := talk(nil)
		began := time.Now()
		err := (&supervisor{p: p}).awaitDrain(drain{first: os.Interrupt, timeout: time.Minute})
		if exitCode(err) != 130 || time.Since(began) != time.Minute+drainGrace {
			t.Errorf("%v after %v, exit code %d", err, time.Since(began), exitCode(err))
		}
	})
}
