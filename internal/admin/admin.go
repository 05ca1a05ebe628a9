// Package admin lets a person ask a running pipeline how it is: a small HTTP
// server on a Unix socket in the pipeline's state folder, and its client.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

	requestTimeout = 5 * time.Second
)

// ErrNotRunning is returned by [Ask] when nobody answers.
var ErrNotRunning = errors.New("not running")

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
}

// Page is a further question that a running pipeline answers, in JSON.
type Page struct {
	// Path of the question: "/schemas".
	Path string
	// Answer is called from several goroutines.
	Answer func() any
}

// Server answers until it is closed.
type Server struct {
	http   *http.Server
	done   chan error
	remove []string // what Close takes away
}

// Listen opens the socket in folder, readable by its owner only, and answers
// with what report returns, which is called from several goroutines, and with
// the pages. The
// caller holds the state lock of the folder: a socket that is there is a dead
// process's and is replaced.
func Listen(folder string, report func() Report, pages ...Page) (*Server, error) {
	path, remove, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), listener.Close())
	}
	s := &Server{
		http:   &http.Server{Handler: handler(report, pages), ReadHeaderTimeout: requestTimeout, WriteTimeout: requestTimeout},
		done:   make(chan error, 1),
		remove: remove,
	}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
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

func handler(report func() Report, pages []Page) http.Handler {
	mux := http.NewServeMux()
	for _, page := range append(pages, Page{"/status", func() any { return report() }}) {
		mux.HandleFunc("GET "+page.Path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			_ = enc.Encode(page.Answer()) // a client that went away needs no answer
		})
	}
	return mux
}

// Close ends the server, waits for it and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.done <- http.ErrServerClosed // for a second Close
	for _, path := range s.remove {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
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

// Ask returns the report of the pipeline that runs with the state folder, or
// [ErrNotRunning].
func Ask(ctx context.Context, folder string) (Report, error) {
	var r Report
	err := AskPage(ctx, folder, Question{Path: "/status", Into: &r})
	return r, err
}

// Question is about a [Page]; the answer is decoded into what Into points to.
type Question struct {
	Path string
	Into any
}

// AskPage asks the pipeline that runs with the state folder; see [Ask].
func AskPage(ctx context.Context, folder string, q Question) error {
	path := filepath.Join(folder, socketName)
	if text, err := os.ReadFile(filepath.Join(folder, addressName)); err == nil {
		path = strings.TrimSpace(string(text))
	} else if len(path) > maxSocketPath {
		return ErrNotRunning
	}
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://entrain"+q.Path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("ask the process at %s: %w", path, err)
	}
	defer answer.Body.Close()
	return decode(answer, q.Into)
}

// maxReport bounds what is read of an answer.
const maxReport = 64 << 20

func decode(answer *http.Response, into any) error {
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the process answered %s", answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxReport)).Decode(into); err != nil {
		return fmt.Errorf("read the process's answer: %w", err)
	}
	return nil
}
