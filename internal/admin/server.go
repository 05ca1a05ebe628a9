package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// Engine is what a server answers for. Its methods are called from several
// goroutines; the contexts end when the one who asks has gone. It has 5 methods
// because each is one question of a person.
type Engine interface {
	// Report is the answer to GET /status; it does not block.
	Report() Report
	// Tables is the answer to GET /tables.
	Tables(ctx context.Context) ([]pipeline.TableStatus, error)
	// Schemas is the answer to GET /schemas; it does not block.
	Schemas() []pipeline.SchemaHistory
	// Letters is the answer to GET /letters: dead letters, a JSON object each.
	Letters(ctx context.Context) ([]json.RawMessage, error)
	// Replay carries out what was sent to POST /replays and returns what it has done,
	// as JSON. It may take long.
	Replay(ctx context.Context, r Replay) (json.RawMessage, error)
	// Do carries out what was sent to POST /orders. It may take long.
	Do(ctx context.Context, o pipeline.Order) error
}

// Server answers until it is closed.
type Server struct {
	http   *http.Server
	done   chan error
	remove []string // what Close takes away
}

// Listen opens the socket in folder, readable by its owner only, and answers
// for the engine. The caller holds the state lock of the folder: a socket that
// is there is a dead process's and is replaced.
func Listen(folder string, e Engine) (*Server, error) {
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
		// No time-out for whole requests: an order may wait for a lock at the source.
		http:   &http.Server{Handler: handler(e), ReadHeaderTimeout: statusTimeout},
		done:   make(chan error, 1),
		remove: remove,
	}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// maxOrder bounds what is read of an order.
const maxOrder = 1 << 16

func handler(e Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, e.Report())
	})
	mux.HandleFunc("GET "+tablesPath, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), tablesTimeout)
		defer cancel()
		tables, err := e.Tables(ctx)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, append([]pipeline.TableStatus{}, tables...)) // never null
	})
	mux.HandleFunc("GET "+schemasPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, append([]pipeline.SchemaHistory{}, e.Schemas()...))
	})
	mux.HandleFunc("GET "+lettersPath, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), tablesTimeout)
		defer cancel()
		all, err := e.Letters(ctx)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, append([]json.RawMessage{}, all...))
	})
	mux.HandleFunc("POST "+replaysPath, func(w http.ResponseWriter, r *http.Request) {
		var wish Replay
		if !understood(w, r, &wish) {
			return
		}
		done, err := e.Replay(r.Context(), wish)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, done)
	})
	mux.HandleFunc("POST "+ordersPath, func(w http.ResponseWriter, r *http.Request) {
		var o pipeline.Order
		if !understood(w, r, &o) {
			return
		}
		if err := e.Do(r.Context(), o); err != nil {
			refuse(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// understood reads what is wanted; false if it has answered that it cannot.
func understood(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	dec.DisallowUnknownFields() // a wish that this version does not know must not get lost
	err := dec.Decode(into)
	if err != nil {
		answer(w, http.StatusBadRequest, failure{Error: "no order: " + err.Error()})
	}
	return err == nil
}

// refuse answers with an error: a named stop is what the pipeline's state
// forbids, everything else a failure.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		code = http.StatusConflict
	}
	answer(w, code, pack(err))
}

// answer writes v as JSON. A client that went away needs none.
func answer(w http.ResponseWriter, code int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(statusTimeout)) // a socket can
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

// Close ends the server, waits for it and removes the socket. Answers under way
// are broken off, and their contexts end.
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
