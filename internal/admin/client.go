package admin

import (
	"bytes"
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

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// ErrNotRunning is returned by [Ask], [Tables], [Schemas] and [Do] when nobody answers.
var ErrNotRunning = errors.New("not running")

// Ask returns the report of the pipeline that runs with the state folder, or
// [ErrNotRunning]. It takes 5 seconds at most.
func Ask(ctx context.Context, folder string) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	err = call(ctx, folder, request{method: http.MethodGet, path: statusPath, into: &r})
	return r, err
}

// answerTime is left for the way of an answer whose making has a time-out.
const answerTime = 5 * time.Second

// Tables returns where the tables of that pipeline are in their lives, or
// [ErrNotRunning]. The process asks the source for it, within 30 seconds. What
// the engine refuses by an [entrain.Stop] or an [entrain.Unreachable] is one here.
func Tables(ctx context.Context, folder string) (tables []pipeline.TableStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, tablesTimeout+answerTime)
	defer cancel()
	err = call(ctx, folder, request{method: http.MethodGet, path: tablesPath, into: &tables})
	return tables, err
}

// Schemas returns the shapes that the tables of that pipeline had, or
// [ErrNotRunning]. It takes 5 seconds at most.
func Schemas(ctx context.Context, folder string) (all []pipeline.SchemaHistory, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	err = call(ctx, folder, request{method: http.MethodGet, path: schemasPath, into: &all})
	return all, err
}

// Letters returns the dead letters of that pipeline, a JSON object each, or
// [ErrNotRunning]. Errors are as those of [Tables].
func Letters(ctx context.Context, folder string) (all []json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, tablesTimeout+answerTime)
	defer cancel()
	err = call(ctx, folder, request{method: http.MethodGet, path: lettersPath, into: &all})
	return all, err
}

// Replay is a stretch of the pipeline's stream that a sink is to get once more.
type Replay struct {
	// Sink by its name, empty for the only one; Partition is empty for all.
	Sink      string            `json:"sink"`
	Partition entrain.Partition `json:"partition,omitempty"`
	// From and To are moments as people write them; To may be empty.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// Tables are patterns over schema.table; none for all.
	Tables []string `json:"tables,omitempty"`
	// DryRun only counts.
	DryRun bool `json:"dry_run,omitempty"`
}

// Rerun has that pipeline replay a stretch, and reads what it has done into done; or
// [ErrNotRunning]. Only ctx ends it, and then the replay. Errors are as those of
// [Tables].
func Rerun(ctx context.Context, folder string, r Replay, done any) error {
	return call(ctx, folder, request{method: http.MethodPost, path: replaysPath, body: r, into: done})
}

// Do has that pipeline carry out an order, and returns when it is written down,
// or [ErrNotRunning]. That takes as long as the source's locks do: only ctx ends
// it, and then the order is given up, unless it was just carried out. Errors are
// as those of [Tables].
func Do(ctx context.Context, folder string, o pipeline.Order) error {
	return call(ctx, folder, request{method: http.MethodPost, path: ordersPath, body: o})
}

// request is one question to a process.
type request struct {
	method, path string
	body         any // nil: none
	into         any // what the answer is read into; nil: there is none
}

func call(ctx context.Context, folder string, r request) error {
	path := filepath.Join(folder, socketName)
	if text, err := os.ReadFile(filepath.Join(folder, addressName)); err == nil {
		path = strings.TrimSpace(string(text))
	} else if len(path) > maxSocketPath {
		return ErrNotRunning
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: statusTimeout}).DialContext(ctx, "unix", path)
		},
	}}
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	asked, err := http.NewRequestWithContext(ctx, r.method, "http://entrain"+r.path, body)
	if err != nil {
		return err
	}
	answer, err := client.Do(asked)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("ask the process at %s: %w", path, err)
	}
	defer answer.Body.Close()
	return decode(answer, r.into)
}

// maxAnswer bounds what is read of an answer: some hundred bytes a table.
const maxAnswer = 64 << 20

func decode(answer *http.Response, into any) error {
	dec := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode >= http.StatusBadRequest {
		var f failure
		if err := dec.Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("the process answered %s", answer.Status)
		}
		return f.unpack()
	}
	if into == nil {
		return nil
	}
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read the process's answer: %w", err)
	}
	return nil
}
