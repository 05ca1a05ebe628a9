package throwaway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// poll is how often a condition is looked at.
const poll = 5 * time.Millisecond

// ready waits until the program says that its process p serves.
func (s *Server) ready(ctx context.Context, p *process) error {
	gone := false
	err := Until(ctx, func() bool {
		select {
		case <-p.done:
			gone = true
			return true
		default:
			return s.program.Ready(ctx, Look{Dir: s.dir, Port: s.port, Pid: p.cmd.Process.Pid})
		}
	})
	if gone {
		return errors.New("it ended at once")
	}
	return err
}

// Until polls cond every few milliseconds until it holds or ctx ends, whose
// error it returns then.
func Until(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(poll)
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

// explain adds to the error of a failed start that the port was the reason, if
// what was logged since says so.
func (s *Server) explain(err error, logged int64) error {
	text, readErr := s.logFrom(logged)
	if readErr == nil && strings.Contains(text, s.cfg.PortTaken) {
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
