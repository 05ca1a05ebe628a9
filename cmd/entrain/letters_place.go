package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/letters"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
	"github.com/entrainsync/entrain/stream"
)

// The kinds of places of dead letters.
const (
	lettersInTable = "table"  // at the sink
	lettersInFile  = "file"   // of that name
	lettersBeside  = "beside" // the file beside the state
	lettersInTopic = "topic"  // of that name
)

// letterPlace is where dead letters are kept; the zero value is nowhere.
type letterPlace struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

// letterPlace is where the file has a delivery keep its letters.
func (l *loaded) letterPlace(of letterOwner) letterPlace {
	d := l.file.DeadLetter
	_, keeps := of.sink.(entrain.LetterKeeper)
	switch {
	case !d.On():
		return letterPlace{}
	case d.Topic != "":
		return letterPlace{lettersInTopic, d.Topic}
	case d.File != "":
		path, err := filepath.Abs(d.File)
		if err != nil {
			path = d.File
		}
		return letterPlace{lettersInFile, path}
	case keeps:
		return letterPlace{Kind: lettersInTable}
	}
	return letterPlace{Kind: lettersBeside}
}

// keeper keeps a delivery's letters in a place; of one that is not the file's present one,
// too. What cannot be had says so when it is asked.
func (l *loaded) keeper(of letterOwner, at letterPlace) entrain.LetterKeeper {
	switch at.Kind {
	case lettersInTable:
		if k, ok := of.sink.(entrain.LetterKeeper); ok {
			return k
		}
		return unasked{errors.New("the sink is of another type now")}
	case lettersInFile:
		return letters.NewFile(at.Name, of.name)
	case lettersInTopic:
		box, err := l.letterBox(at.Name)
		if err != nil {
			return unasked{err}
		}
		return box.Keeper(of.name)
	}
	return defaultFile(of)
}

// letterBox is a topic of letters: the file's own, or another one.
func (l *loaded) letterBox(topic string) (entrain.LetterBox, error) {
	if l.letters != nil && l.file.DeadLetter.Topic == topic {
		return l.letters, nil
	}
	host, err := l.letterHost()
	if err != nil {
		return nil, err
	}
	return host.LetterBox(entrain.LetterPlace{Name: topic, Pipeline: l.file.Name})
}

// unasked is a place that cannot be had, and why.
type unasked struct{ why error }

func (u unasked) Letters(context.Context) ([]entrain.DeadLetter, error)   { return nil, u.why }
func (u unasked) KeepLetters(context.Context, []entrain.DeadLetter) error { return u.why }
func (u unasked) DropLetters(context.Context, []string) error             { return u.why }

// where names the place for people.
func (p letterPlace) where(of letterOwner) string {
	switch p.Kind {
	case lettersInTable:
		return "the table entrain.dead_letter at the target"
	case lettersInTopic:
		return "the topic " + p.Name
	case lettersInFile:
		return "the file " + p.Name
	}
	return "the file " + defaultFile(of).Path()
}

// section is what the file says to have letters kept there.
func (p letterPlace) section() string {
	switch p.Kind {
	case lettersInTable:
		return "dead_letter: {table: entrain.dead_letter}"
	case lettersBeside:
		return "dead_letter: {}"
	}
	name, err := json.Marshal(p.Name) // is YAML, too
	if err != nil {
		return "dead_letter, with " + p.Kind
	}
	return fmt.Sprintf("dead_letter: {%s: %s}", p.Kind, name)
}

// letterNote is a file of a delivery's state: where its letters were kept last. It is
// there from before the first letter is kept until the place is another one and was seen
// to have none.
type letterNote string

func noteOf(of letterOwner) letterNote {
	return letterNote(filepath.Join(of.folder, "letters_at.json"))
}

// load returns the place; the zero value if there is none.
func (n letterNote) load() (at letterPlace, err error) {
	text, err := os.ReadFile(string(n))
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		err = fmt.Errorf("where dead letters are kept: %s: %w", n, err)
	}
	return at, err
}

// save returns when the place is remembered durably.
func (n letterNote) save(at letterPlace) error {
	if was, err := n.load(); err != nil || was == at {
		return err
	}
	text, err := json.Marshal(at)
	if err == nil {
		err = store.WriteFile(string(n), text)
	}
	if err != nil {
		return fmt.Errorf("remember where dead letters are kept: %w", err)
	}
	return nil
}

// forget removes the note.
func (n letterNote) forget() error {
	if err := os.Remove(string(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return store.SyncFolder(filepath.Dir(string(n)))
}

// notedLetters remembers where it keeps letters before it does.
type notedLetters struct {
	pipeline.LetterStore
	note letterNote
	at   letterPlace
}

// Letters implements [pipeline.LetterStore]. Letters of a version that remembered nothing
// are noted, too.
func (s *notedLetters) Letters(ctx context.Context) ([]parking.Letter, error) {
	all, err := s.LetterStore.Letters(ctx)
	if err == nil && len(all) > 0 {
		err = s.note.save(s.at)
	}
	return all, err
}

// Park implements [pipeline.LetterStore].
func (s *notedLetters) Park(ctx context.Context, some []parking.Letter) error {
	if err := s.note.save(s.at); err != nil {
		return err
	}
	return s.LetterStore.Park(ctx, some)
}

// leftLetters are the places where a delivery's letters may be left: the one that is
// remembered, and those that need no name, in which earlier versions kept letters without
// remembering it.
func (l *loaded) leftLetters(of letterOwner) []pipeline.LeftLetters {
	now, note := l.letterPlace(of), noteOf(of)
	was, err := note.load()
	var left []pipeline.LeftLetters
	for _, at := range []letterPlace{{Kind: lettersInTable}, {Kind: lettersBeside}} {
		_, keeps := of.sink.(entrain.LetterKeeper)
		if at != now && at != was && (keeps || at.Kind != lettersInTable) {
			left = append(left, pipeline.LeftLetters{Store: letters.In(l.keeper(of, at)), Where: at.where(of), Section: at.section()})
		}
	}
	if err == nil && (was == now || was == letterPlace{}) {
		return left
	}
	keeper := l.keeper(of, was)
	if err != nil {
		keeper = unasked{err}
	}
	return append(left, pipeline.LeftLetters{Store: &leftLetters{letters.In(keeper), was}, Where: was.where(of), Section: was.section(),
		Forget: "rm " + shellWord(string(note)), Empty: note.forget})
}

// leftLetters are those of the place that is remembered: a file that is gone does not say
// that there were none.
type leftLetters struct {
	pipeline.LetterStore
	at letterPlace
}

// Letters implements [pipeline.LetterStore].
func (s *leftLetters) Letters(ctx context.Context) ([]parking.Letter, error) {
	if s.at.Kind == lettersInFile {
		if _, err := os.Stat(s.at.Name); err != nil {
			return nil, err
		}
	}
	return s.LetterStore.Letters(ctx)
}

// lookTime bounds the look for letters when a file is read again.
const lookTime = 15 * time.Second

// noLettersLeft refuses a file that would leave letters behind, before the engine at work
// is ended for it. The deliveries look once more when they begin.
func (l *loaded) noLettersLeft(ctx context.Context, state *store.Store) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	owners, err := l.letterOwners(state.Folder())
	if err != nil {
		return err
	}
	for _, of := range owners {
		for _, left := range l.leftLetters(of) {
			if err := left.Check(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// letterOwners are the deliveries that this machine has states of.
func (l *loaded) letterOwners(folder string) (all []letterOwner, err error) {
	if l.log == nil {
		for _, end := range l.sinks {
			all = append(all, letterOwner{end.sink, l.file.Name, folder})
		}
		return all, nil
	}
	entries, err := os.ReadDir(l.sinkFolder())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, end := range l.sinks {
		for _, e := range entries {
			name, err := url.PathUnescape(e.Name())
			at, mine := strings.CutPrefix(name, end.section.Name+".") // a sink's name has no dot
			if err != nil || !mine || l.only != "" && l.only != end.section.Name {
				continue
			}
			env := end.env
			env.Pipeline = deliveryName(l.file.Name, end.section.Name, stream.Partition(at))
			sink, err := end.build(env)
			if err != nil {
				return nil, err
			}
			all = append(all, letterOwner{sink, env.Pipeline, filepath.Join(l.sinkFolder(), e.Name())})
		}
	}
	return all, nil
}

// lettersElsewhere are the letters that no end of the file knows: those in a file that
// has a name, and those in a topic that the file does not name any more.
func (l *loaded) lettersElsewhere(ctx context.Context, folder string) ([]entrain.Removal, error) {
	owners, err := l.letterOwners(folder)
	if err != nil {
		return nil, err
	}
	var all once
	for _, of := range owners {
		was, err := noteOf(of).load()
		if err != nil {
			return nil, err
		}
		now := l.letterPlace(of)
		for _, at := range []letterPlace{now, was} {
			if err := l.addElsewhere(ctx, &all, elsewhere{of, at, at == now}); err != nil {
				return nil, err
			}
		}
	}
	return all.list, nil
}

// elsewhere is a place of a delivery's letters, and whether it is the file's present one.
type elsewhere struct {
	of    letterOwner
	at    letterPlace
	isNow bool
}

func (l *loaded) addElsewhere(ctx context.Context, all *once, e elsewhere) error {
	switch {
	case e.at.Kind == lettersInFile:
		return all.add(ctx, letterFile{e.at.Name, e.of.name})
	case e.at.Kind == lettersInTopic && !e.isNow: // that one is an end of the file
		box, err := l.letterBox(e.at.Name)
		if err != nil {
			return fmt.Errorf("the dead letters in the topic %s: %w", e.at.Name, err)
		}
		return all.add(ctx, box)
	}
	return nil
}

// letterFile is a file of letters that has a name, and whose they are.
type letterFile struct{ path, owner string }

// Teardown implements [entrain.Teardowner]. A file without letters stays, and one of
// another pipeline is none of ours.
func (f letterFile) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	found, err := letters.NewFile(f.path, f.owner).Letters(ctx)
	var foreign *entrain.Stop
	if errors.As(err, &foreign) && foreign.Code == "dead_letters_foreign" || err == nil && len(found) == 0 {
		return nil, nil
	}
	what := counted(len(found), "dead letter") + " of " + f.owner
	if err != nil { // it cannot be read, and goes all the same
		what = "dead letters of " + f.owner
	}
	return []entrain.Removal{{
		What: what + " in the file " + f.path + ": their changes are lost",
		SQL:  "rm " + shellWord(f.path),
		Do:   func(context.Context) error { return os.Remove(f.path) },
	}}, nil
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
