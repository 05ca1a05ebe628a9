package campaign

import (
	"os/exec"
	"syscall"
)

// diesWithUs has the kernel kill a program when the thread that starts it ends, so that
// none outlives a campaign that is killed. A program that changes its user is not bound.
func diesWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
