package pgserver

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Ready reports whether the postmaster says in its pid file, as pg_ctl reads
// it, that it accepts connections.
func (c cluster) Ready(_ context.Context, look throwaway.Look) bool {
	text, _ := os.ReadFile(filepath.Join(data(look.Dir), "postmaster.pid"))
	return saysReady(string(text), look.Pid)
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
