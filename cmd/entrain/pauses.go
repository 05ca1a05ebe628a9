package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/internal/store"
)

// pauses is the folder of a state, which remembers in a file which sinks stand still.
type pauses string

func (p pauses) path() string { return filepath.Join(string(p), "paused.json") }

// Load implements [fanout.PauseStore].
func (p pauses) Load() (all []fanout.Pause, err error) {
	text, err := os.ReadFile(p.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

// Save implements [fanout.PauseStore].
func (p pauses) Save(all []fanout.Pause) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return store.WriteFile(p.path(), text)
}
