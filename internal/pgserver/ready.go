package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ready waits until the postmaster says in its pid file, as pg_ctl reads it,
// that it accepts connections.
func (s *Server) ready(ctx context.Context, p *process) error {
	gone := false
	err := until(ctx, func() bool {
		select {
		case <-p.done:
			gone = true
			return true
		default:
			text, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
			return saysReady(string(text), p.cmd.Process.Pid)
		}
	})
	if gone {
		return errors.New("it ended at once")
	}
	return err
}

// until polls cond every few milliseconds until it holds or ctx ends.
func until(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// statusLine is where a pid file says how far the start is.
const statusLine = 7

// saysReady reads a pid file, which an earlier postmaster may have left.
func saysReady(text string, pid int) bool {
	lines := strings.Split(text, "\n")
	if len(lines) <= statusLine || strings.TrimSpace(lines[0]) != strconv.Itoa(pid) {
		return false
	}
	status := strings.TrimSpace(lines[statusLine])
	return status == "ready" || status == "standby"
}

// explain adds to the error of a failed start that the port was the reason, if
// what was logged since says so.
func (s *Server) explain(err error, logged int64) error {
	text, readErr := s.logFrom(logged)
	if readErr == nil && strings.Contains(text, "could not bind") {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}

// logTail is how much of a log is shown.
const logTail = 16 << 10

// Log returns the end of the server's log, at most 16 KiB; empty if there is
// none yet.
func (s *Server) Log() string {
	text, err := s.logFrom(max(0, s.logSize()-logTail))
	if err != nil {
		return ""
	}
	return text
}

func (s *Server) logSize() int64 {
	info, err := os.Stat(s.logFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (s *Server) logFrom(offset int64) (string, error) {
	f, err := os.Open(s.logFile())
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
	return string(text), err
}
