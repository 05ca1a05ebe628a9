// Package admin lets a person ask a running pipeline how it is, and order its
// tables about: a small HTTP server on a Unix socket in the pipeline's state
// folder, and its client.
package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entrainsync/entrain/pipeline"
)

const (
	socketName = "admin.sock"
	// addressName is the file that tells where the socket is if its name in
	// the folder is too long for a socket.
	addressName = "admin.addr"
	// maxSocketPath is a length that every system takes.
	maxSocketPath = 100

	// statusTimeout bounds what the process knows by heart.
	statusTimeout = 5 * time.Second
	// tablesTimeout bounds what it has to ask the source for.
	tablesTimeout = 30 * time.Second
)

// The paths that are answered.
const (
	statusPath  = "/status"
	tablesPath  = "/tables"
	schemasPath = "/schemas"
	lettersPath = "/letters"
	ordersPath  = "/orders"
	replaysPath = "/replays"
)

// Report is the answer to GET /status.
type Report struct {
	// Pipeline is the pipeline's name.
	Pipeline string `json:"pipeline"`
	// PID of the process that runs it.
	PID int `json:"pid"`
	// Started is when the process started it.
	Started time.Time `json:"started"`
	// Status of the pipeline now.
	Status pipeline.Status `json:"status"`
	// DeliversOnly: the process captures nothing, and Status is that of a delivery.
	DeliversOnly bool `json:"delivers_only,omitempty"`
	// Sinks tells how the deliveries from the pipeline's stream are; empty without
	// a stream.
	Sinks []pipeline.SinkStatus `json:"sinks,omitempty"`
	// Alerts are the thresholds of the file's monitoring section.
	Alerts []Alert `json:"alerts,omitempty"`
}

// socketPath returns where to listen. If the folder's name is too long for a
// socket, that is a private temporary folder, which is noted in folder.
func socketPath(folder string) (path string, remove []string, err error) {
	path, note := filepath.Join(folder, socketName), filepath.Join(folder, addressName)
	forgetOld(note)
	if len(path) <= maxSocketPath {
		return path, nil, nil
	}
	parent := os.TempDir()
	if len(parent) > maxSocketPath/2 {
		parent = "/tmp"
	}
	private, err := os.MkdirTemp(parent, "entrain-")
	if err != nil {
		return "", nil, fmt.Errorf("admin socket: %w", err)
	}
	path = filepath.Join(private, socketName)
	if err := os.WriteFile(note, []byte(path+"\n"), 0o600); err != nil {
		return "", nil, fmt.Errorf("admin socket: %w", errors.Join(err, os.Remove(private)))
	}
	return path, []string{private, note}, nil
}

// forgetOld removes what a process that was killed left elsewhere.
func forgetOld(note string) {
	text, err := os.ReadFile(note)
	if err != nil {
		return
	}
	path := strings.TrimSpace(string(text))
	private := filepath.Dir(path)
	if strings.HasPrefix(filepath.Base(private), "entrain-") && filepath.Base(path) == socketName {
		_ = os.Remove(path)
		_ = os.Remove(private)
	}
	_ = os.Remove(note)
}

// Remove deletes what a process that was killed left in the folder. The caller
// holds the state lock.
func Remove(folder string) error {
	forgetOld(filepath.Join(folder, addressName))
	if err := os.Remove(filepath.Join(folder, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove admin socket: %w", err)
	}
	return nil
}
