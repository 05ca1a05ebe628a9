package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// The codes of the findings.
const (
	codeFolder   = "sink_folder"
	codeWritable = "sink_writable"
	codeSpace    = "sink_space"
	// codePartitions is also that of the stop.
	codePartitions = "sink_partitions"
)

// leastSpace is below what a busy day needs.
const leastSpace = 1 << 30

// Codes implements entrain.Checker.
func (s *Sink) Codes() []string { return []string{codePartitions, codeFolder, codeWritable, codeSpace} }

// Check implements entrain.Checker. Standard output is taken as it is.
func (s *Sink) Check(ctx context.Context, source *entrain.Report) (entrain.Report, error) {
	report := entrain.Report{Server: "file " + s.path}
	all := []entrain.Finding{s.checkPartitions(source)}
	if s.path == "-" {
		report.Server = "standard output"
	} else {
		all = append(all, s.checkFolder(), s.checkWritable(), s.checkSpace())
	}
	if err := ctx.Err(); err != nil {
		return entrain.Report{Server: report.Server}, err
	}
	for _, f := range all {
		f.Doc = "postgres.md#" + f.Code
		report.Findings = append(report.Findings, f)
	}
	return report, nil
}

// Undivided implements [entrain.Undivided].
func (s *Sink) Undivided() string {
	return "all partitions would write to one file, each as if it were alone: what one has written another would take for torn"
}

func (s *Sink) checkPartitions(source *entrain.Report) entrain.Finding {
	f := entrain.Finding{Code: codePartitions, Object: "file " + s.path}
	if source != nil && source.Partitions > 1 {
		f.Status = entrain.FindingError
		f.Why = fmt.Sprintf("the stream has %d partitions: %s. Use a stream of one partition, or a pipeline of its own for this sink", source.Partitions, s.Undivided())
	}
	return f
}

func (s *Sink) checkFolder() entrain.Finding {
	folder := filepath.Dir(s.path)
	f := entrain.Finding{Code: codeFolder, Object: "folder " + folder}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		f.Status = entrain.FindingError
		f.Why = fmt.Sprintf("the folder of the file %s does not exist: its name may be mistyped or a disk not mounted", s.path)
		f.Fix = []entrain.Fix{{Where: "this machine", Shell: "mkdir -p " + quote(folder)}}
	}
	return f
}

// checkWritable asks for the right only: opening a FIFO would wait, and making
// the file would leave it behind.
func (s *Sink) checkWritable() entrain.Finding {
	f := entrain.Finding{Code: codeWritable, Object: "file " + s.path}
	place, mode, step := s.path, uint32(wOK), "chmod u+w "
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		place, mode, step = filepath.Dir(s.path), wOK|xOK, "chmod u+wx "
		if _, err := os.Stat(place); err != nil {
			return f // the folder has its own finding
		}
	case err == nil && info.IsDir():
		f.Status, f.Why = entrain.FindingError, "it is a folder, and a file is expected: correct sink.path"
		return f
	}
	if err := syscall.Access(place, mode); err != nil {
		f.Status, f.Why = entrain.FindingError, fmt.Sprintf("this process may not write to %s: %v", place, err)
		f.Fix = []entrain.Fix{{Where: "this machine, as the owner of " + place, Shell: step + quote(place)}}
	}
	return f
}

// The modes of access(2).
const (
	wOK = 2
	xOK = 1
)

func (s *Sink) checkSpace() entrain.Finding {
	folder := filepath.Dir(s.path)
	f := entrain.Finding{Code: codeSpace, Object: "folder " + folder}
	if free, err := connector.FreeSpace(folder); err == nil && free < leastSpace {
		f.Status = entrain.FindingWarning
		f.Why = fmt.Sprintf("%d MB are free there: the pipeline stops when its file has no more room", free>>20)
	}
	return f
}
