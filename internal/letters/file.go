package letters

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/store"
)

// File is an [entrain.LetterKeeper]: a file of JSON lines, each of which adds
// letters or removes them. One process writes it, the one that has the pipeline's
// state; others may read it meanwhile. As long as it has lines it is one delivery's.
type File struct {
	path, owner string

	mu sync.Mutex
}

// NewFile returns the letters of a delivery, by its name, in a file, which is made when
// the first is kept.
func NewFile(path, owner string) *File { return &File{path: path, owner: owner} }

// Path is the file's name.
func (f *File) Path() string { return f.path }

// line is one step. All letters of one call are in one line, which is there whole
// or not at all: one that a crash cut off has no newline.
type line struct {
	Of   string   `json:"of,omitempty"` // whose letters; the first member
	Keep []record `json:"keep,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

type record struct {
	entrain.DeadLetter
	Body json.RawMessage `json:"body"`
}

// Letters implements [entrain.LetterKeeper].
func (f *File) Letters(ctx context.Context) ([]entrain.DeadLetter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, _, err := f.read(ctx)
	return slices.Collect(maps.Values(found)), err
}

// read returns the letters by id, and how long the whole lines are.
func (f *File) read(ctx context.Context) (map[string]entrain.DeadLetter, int64, error) {
	found := map[string]entrain.DeadLetter{}
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return found, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("dead letters: %w", err)
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 64<<10)
	size := int64(0)
	for number := 1; ctx.Err() == nil; number++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return found, size, nil // the rest has no end: it was never there
		}
		if err != nil { // a disk that cannot read does not say that nothing is there
			return nil, 0, fmt.Errorf("dead letters: %w", err)
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, 0, f.damaged(number, err)
		}
		if l.Of != "" && l.Of != f.owner {
			return nil, 0, f.foreign(l.Of)
		}
		size += int64(len(text))
		for _, k := range l.Keep {
			if _, there := found[k.ID]; !there {
				k.DeadLetter.Body = k.Body
				found[k.ID] = k.DeadLetter
			}
		}
		for _, id := range l.Drop {
			delete(found, id)
		}
	}
	return nil, 0, ctx.Err()
}

func (f *File) damaged(number int, err error) error {
	return &entrain.Stop{
		Code: "dead_letters_damaged",
		What: fmt.Sprintf("line %d of the dead letters in %s cannot be read", number, f.path),
		Why:  "something other than entrain wrote it, or the disk did not keep it; the letters in it would be lost",
		Next: fmt.Sprintf("restore the file from a backup, or take the line out: sed -i.bak %dd %s; then: entrain run FILE", number, f.path),
		Err:  err,
	}
}

func (f *File) foreign(owner string) error {
	return &entrain.Stop{
		Code: "dead_letters_foreign",
		What: fmt.Sprintf("%s has dead letters of %s, and this is %s", f.path, owner, f.owner),
		Why:  "the letters of one would be delivered to the other's sink, or lost",
		Next: fmt.Sprintf("set dead_letter.file in FILE to a file of its own; or, if %s has this name now: sed -i.bak 's/^{\"of\":\"%[1]s\"/{\"of\":\"%s\"/' %s; then: entrain run FILE",
			owner, f.owner, f.path),
	}
}

// lock waits until nobody else writes the file, as long as it is open, and sees that it is
// this delivery's.
func (f *File) lock(file *os.File) error {
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	first := json.NewDecoder(io.NewSectionReader(file, 0, 4<<10))
	for _, want := range []json.Token{json.Delim('{'), "of"} {
		if token, err := first.Token(); err != nil || token != want {
			return nil // it is empty, or of a version that did not say whose it is
		}
	}
	if owner, err := first.Token(); err == nil && owner != f.owner {
		return f.foreign(fmt.Sprint(owner))
	}
	return nil
}

// KeepLetters implements [entrain.LetterKeeper].
func (f *File) KeepLetters(ctx context.Context, letters []entrain.DeadLetter) error {
	l := line{}
	for _, k := range letters {
		l.Keep = append(l.Keep, record{k, k.Body})
	}
	return f.add(ctx, l)
}

// DropLetters implements [entrain.LetterKeeper]. A file without letters is emptied.
func (f *File) DropLetters(ctx context.Context, ids []string) error {
	if err := f.add(ctx, line{Drop: ids}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if left, _, err := f.read(ctx); err != nil || len(left) > 0 {
		return err
	}
	return os.Truncate(f.path, 0)
}

// add appends a line; what a crash has left of another one is cut off before.
func (f *File) add(ctx context.Context, l line) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("write dead letters to %s: %w", f.path, err)
		}
	}()
	l.Of = f.owner
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := f.lock(file); err != nil {
		return err
	}
	size, err := wholeLines(file)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		_, err = file.WriteAt(append(text, '\n'), size)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return errors.Join(err, file.Truncate(size)) // a full disk must not leave half a line
	}
	return store.SyncFolder(filepath.Dir(f.path))
}

// wholeLines is where the last newline ends.
func wholeLines(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	const step = 64 << 10
	buf := make([]byte, step)
	for end := info.Size(); end > 0; {
		start := max(0, end-step)
		n, err := file.ReadAt(buf[:end-start], start)
		if n < int(end-start) && err != nil {
			return 0, err
		}
		if at := bytes.LastIndexByte(buf[:n], '\n'); at >= 0 {
			return start + int64(at) + 1, nil
		}
		end = start
	}
	return 0, nil
}
