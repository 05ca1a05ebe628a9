package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// host is what is known of this process and its machine.
type host struct {
	folder string // of the state, or the nearest one above it that exists
	space  connector.ByteSize
	files  uint64 // that may be open at once
}

const (
	codeStateSpace = "state_space"
	codeOpenFiles  = "open_files"

	leastState = 256 << 20
	leastFiles = 256
)

func hostCodes() []string { return []string{codeStateSpace, codeOpenFiles} }

// checkHost examines what no server knows. What cannot be asked for here is not
// reported.
func checkHost(l *loaded) []entrain.Finding {
	h := host{folder: existing(l.file.State.Dir)}
	var findings []entrain.Finding
	if space, err := connector.FreeSpace(h.folder); err == nil {
		h.space = space
		findings = append(findings, h.judgeSpace())
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		h.files = uint64(limit.Cur)
		findings = append(findings, h.judgeFiles())
	}
	for i := range findings {
		findings[i].Doc = "postgres.md#" + findings[i].Code
	}
	return findings
}

// existing is the folder or the nearest one above it that is there already.
func existing(folder string) string {
	folder = filepath.Clean(folder)
	for {
		info, err := os.Stat(folder)
		if parent := filepath.Dir(folder); err != nil && parent != folder {
			folder = parent
			continue
		}
		if err == nil && !info.IsDir() {
			return filepath.Dir(folder)
		}
		return folder
	}
}

func (h host) judgeSpace() entrain.Finding {
	f := entrain.Finding{Code: codeStateSpace, Object: "folder " + h.folder}
	if h.space < leastState {
		f.Status = entrain.FindingWarning
		f.Why = fmt.Sprintf("%d MB are free for the pipeline's state (state.dir): a position that cannot be saved stops the pipeline", h.space>>20)
	}
	return f
}

func (h host) judgeFiles() entrain.Finding {
	f := entrain.Finding{Code: codeOpenFiles, Object: "this process"}
	if h.files < leastFiles {
		f.Status = entrain.FindingWarning
		f.Why = fmt.Sprintf("it may open %d files and connections at once: raise the limit where it is started (ulimit -n, LimitNOFILE)", h.files)
	}
	return f
}
