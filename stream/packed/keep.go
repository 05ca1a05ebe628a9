package packed

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

// keptPrefix begins the names of what a capture remembers: then follow the number of
// the marker that its writer began with, a dot and the key in base64url. What a
// fenced writer stores late is of a lower number than what its successor has stored
// or found.
const keptPrefix = "kept."

func keptName(marker uint64, key string) string {
	return keptPrefix + strconv.FormatUint(marker, 10) + "." + base64.RawURLEncoding.EncodeToString([]byte(key))
}

// readKept is the reverse of keptName.
func readKept(name string) (marker uint64, key string, ok bool) {
	rest, ok := strings.CutPrefix(name, keptPrefix)
	number, text, whole := strings.Cut(rest, ".")
	marker, err := strconv.ParseUint(number, 10, 64)
	raw, bad := base64.RawURLEncoding.DecodeString(text)
	return marker, string(raw), ok && whole && err == nil && bad == nil
}

// LoadValues implements [stream.Keeper].
func (l *Log) LoadValues(ctx context.Context) (map[string][]byte, error) {
	w, err := l.writing()
	if err != nil {
		return nil, err
	}
	values, err := w.seq.State.Values(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what the capture has stored in the stream of %s: %w", l.cfg.Producer, err)
	}
	newest := map[string]uint64{}
	kept := map[string][]byte{}
	for name, value := range values {
		marker, key, ok := readKept(name)
		if at, known := newest[key]; ok && (!known || marker > at) {
			newest[key], kept[key] = marker, value
		}
	}
	return kept, nil
}

// SaveValues implements [stream.Keeper]: the values are stored one after the other,
// in the order of their keys.
func (l *Log) SaveValues(ctx context.Context, values map[string][]byte) error {
	w, err := l.writing()
	if err != nil {
		return err
	}
	marker := w.owns.Load()
	if marker == 0 {
		return errNotTaken
	}
	if err := w.stillOwns(ctx, marker); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := w.seq.State.Store(ctx, keptName(marker, key), values[key]); err != nil {
			return fmt.Errorf("store %q in the stream of %s: %w", key, l.cfg.Producer, err)
		}
	}
	return w.forgetKept(ctx, values, marker)
}

// ownsName is the value that has the marker of the writer that took over last.
const ownsName = "owns"

// stillOwns reports by an error that another writer has taken over.
func (w *writer) stillOwns(ctx context.Context, marker uint64) error {
	values, err := w.seq.State.Values(ctx)
	if err == nil && string(values[ownsName]) != strconv.FormatUint(marker, 10) {
		err = w.explain(ctx, ErrFenced)
	}
	return err
}

// forgetKept removes what older writers stored under the same keys.
func (w *writer) forgetKept(ctx context.Context, values map[string][]byte, marker uint64) error {
	all, err := w.seq.State.Values(ctx)
	if err != nil {
		return err
	}
	for name := range all {
		at, key, ok := readKept(name)
		if _, again := values[key]; !ok || !again || at >= marker {
			continue
		}
		if err := w.seq.State.Store(ctx, name, nil); err != nil {
			return err
		}
	}
	return nil
}

// writing is the writer that was opened last.
func (l *Log) writing() (*writer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer == nil {
		return nil, entrain.Retryable(fmt.Errorf("no session writes to the stream of %s", l.cfg.Producer))
	}
	return l.writer, nil
}
