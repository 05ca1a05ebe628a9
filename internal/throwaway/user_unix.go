//go:build unix

package throwaway

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// nobody is the user and group that root's servers run as.
const nobody = 65534

func isRoot() bool { return os.Geteuid() == 0 }

// SetUser makes cmd run in a session of its own, so that the terminal's Ctrl-C
// does not reach it, and as an unprivileged user if we are root.
func SetUser(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if isRoot() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
}

// GiveAway hands dir and all in it to the user that servers run as.
func GiveAway(dir string) error {
	if !isRoot() {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
}

func signal(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }
