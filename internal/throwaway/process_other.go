//go:build !unix

package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// process cannot exist here: servers are controlled by Unix signals.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (s *Server) launch() (*process, error) {
	return nil, fmt.Errorf("start a private server on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (p *process) tell(os.Signal) error       { return errors.ErrUnsupported }
func (p *process) kill(context.Context) error { return errors.ErrUnsupported }
func (p *process) wait(context.Context) error { return errors.ErrUnsupported }

// SetUser does nothing here.
func SetUser(*exec.Cmd) {}

// GiveAway does nothing here.
func GiveAway(string) error { return nil }
