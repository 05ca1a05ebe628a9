//go:build !linux

package campaign

import "os/exec"

// diesWithUs does nothing: only Linux has it.
func diesWithUs(*exec.Cmd) {}
