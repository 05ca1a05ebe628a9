package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
)

// Contracts hold events to what the owners of their tables promise. Events that the
// rules of the pipeline leave out are not held to anything.
type Contracts struct {
	// All are checked contracts for tables by their names at the source.
	All []*contract.Contract
	// Level is what becomes of an event that breaks one. [contract.DeadLetter] needs
	// Options.DeadLetters.
	Level contract.Level
	// TypeName writes the types of the source's columns; nil: the source does, if it is an
	// [entrain.TypeNamer]. What is read from a stream does not know.
	TypeName func(entrain.Column) string
}

// judge holds a pipeline's events to contracts.
type judge struct {
	p         *Pipeline
	validator *contract.Validator       // nil without contracts; guarded by p.transforming
	found     []found                   // scratch
	said      map[string]bool           // what was logged of tables
	known     map[*contract.Breach]bool // of which it was logged that events go on

	mu     sync.Mutex
	counts map[string]int64 // breaches by table
}

// found is an event of a batch that breaks its contract.
type found struct {
	breach           *contract.Breach
	version, ordinal uint64
	event            entrain.Event // for the message; without rows
	value            string
}

const codeContract = "contract_broken"

func newJudge(p *Pipeline, o *Contracts) (*judge, error) {
	j := &judge{p: p, said: map[string]bool{}, known: map[*contract.Breach]bool{}, counts: map[string]int64{}}
	if o == nil || o.Level == contract.Off || len(o.All) == 0 {
		return j, nil
	}
	if o.Level == contract.DeadLetter && p.opt.DeadLetters == nil {
		return nil, errors.New("pipeline: contracts whose breaches become dead letters need DeadLetters")
	}
	options := contract.Options{Level: o.Level, Met: j.met, TypeName: o.TypeName}
	if source, ok := p.opt.Source.(entrain.TypeNamer); ok && o.TypeName == nil {
		options.TypeName = source.TypeName
	}
	j.validator = contract.New(o.All, options)
	return j, nil
}

// covers reports whether rows of a table have to be looked at.
func (j *judge) covers(t *entrain.Table) bool { return j.validator != nil && j.validator.Covers(t) }

// met tells how a table differs from its contract, once for each difference.
func (j *judge) met(c *contract.Contract, t *entrain.Table, all []contract.Difference) {
	log := j.p.log.With("table", t.String(), "contract", c.File)
	if c.Status == contract.Deprecated && j.first(t.String()+" deprecated") {
		log.Warn("the contract of a table is deprecated", "owner", c.Owner, "retired", c.Dates.Retired)
	}
	for _, d := range all {
		switch text := d.String(); {
		case !j.first(t.String() + " " + text):
		case d.Breaking:
			log.Warn("a table breaks its contract", "difference", text, "compatibility", string(c.Compatibility), "next", "entrain schema diff FILE")
		default:
			log.Info("a table differs from its contract, and keeps it", "difference", text)
		}
	}
}

// first reports whether something is said for the first time.
func (j *judge) first(what string) bool {
	again := j.said[what]
	j.said[what] = true
	return !again
}

// look returns the events of a batch that break their contracts. They are valid until
// the next call.
func (j *judge) look(b *entrain.Batch) []found {
	if j.validator == nil {
		return nil
	}
	j.found = j.found[:0]
	for i := range b.Events {
		e := &b.Events[i]
		breach := j.validator.Judge(e)
		if breach == nil {
			continue
		}
		f := found{breach: breach, version: e.Tx.Version, ordinal: e.Ordinal, event: *e}
		f.event.Before, f.event.After = nil, nil // the rules may free them
		if !j.known[breach] {
			f.value = breach.Value(e)
		}
		j.found = append(j.found, f)
	}
	return j.found
}

// remaining are those of the found that are in the batch still.
func remaining(all []found, b *entrain.Batch) []found {
	type place struct{ version, ordinal uint64 }
	there := make(map[place]bool, len(b.Events))
	for i := range b.Events {
		there[place{b.Events[i].Tx.Version, b.Events[i].Ordinal}] = true
	}
	kept := all[:0]
	for _, f := range all {
		if there[place{f.version, f.ordinal}] {
			kept = append(kept, f)
		}
	}
	return kept
}

// act does what the level says with events that break their contracts. park is nil
// where nothing can be parked: it is a stop there.
func (j *judge) act(all []found, park func(e *entrain.Event, reason string)) error {
	j.count(all)
	for i := range all {
		f := &all[i]
		switch level := f.breach.Level; {
		case level == contract.Warn:
			if !j.known[f.breach] && j.first(breachName(f.breach)) {
				j.p.log.Warn("an event breaks its contract and goes on: it is counted from now on", "event", f.event.ID(),
					"table", f.event.Table.String(), "contract", f.breach.Contract.File, "breach", f.text())
			}
			j.known[f.breach] = true
		case level == contract.DeadLetter && park != nil:
			park(&f.event, f.text()+" ("+f.breach.Contract.File+")")
		default:
			return f.stop()
		}
	}
	return nil
}

func (j *judge) count(all []found) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].event.Table == rest[0].event.Table {
			n++
		}
		j.counts[rest[0].event.Table.String()] += int64(n)
		rest = rest[n:]
	}
}

// breachName is the same for all events that break a contract in the same way.
func breachName(b *contract.Breach) string {
	return b.Table.String() + " event " + string(b.Kind) + " " + b.Column + " " + b.Want
}

// text says what breaks.
func (f *found) text() string {
	b := f.breach
	d := b.Difference
	if f.value != "" {
		return "column " + d.Column + ": contract has " + d.Want + ", row has " + f.value
	}
	texts := []string{d.String()}
	for _, other := range b.Others {
		texts = append(texts, other.String())
	}
	return strings.Join(texts, "; ")
}

// stop names both sides and what leads on.
func (f *found) stop() *entrain.Stop {
	c, table := f.breach.Contract, f.event.Table.String()
	s := &entrain.Stop{
		Code: codeContract,
		What: fmt.Sprintf("%s of table %s (event %s) breaks the contract in %s: %s", f.event.Op, table, f.event.ID(), c.File, f.text()),
		Why:  "who reads the table counts on its contract, and contracts.validation is " + string(f.breach.Level),
		Data: true,
	}
	if f.breach.Level == contract.DeadLetter {
		s.Why = "rows that are copied first cannot be parked: one that breaks its table's contract is a stop"
	}
	const mild = "contracts.validation: warn in FILE lets such events pass"
	dead := "; dead_letter and a section of that name park them"
	if f.event.Op == entrain.OpRead {
		dead = "" // rows that are copied cannot be
	}
	switch f.breach.Kind {
	case contract.KindRetired:
		s.Next = "leave the table out of source.tables in FILE, or set its status in " + c.File + " to active; then: entrain run FILE"
	case contract.KindNull, contract.KindValue:
		s.Next = "let the contract have it (" + filepath.Base(c.File) + ", column " + f.breach.Column + "), or: " + mild + dead + "; then: entrain run FILE"
	default:
		s.Next = "entrain schema export FILE --table '" + strings.ReplaceAll(table, "'", `'\''`) + "' --force" +
			"   # takes the table's shape over into the contract; or: " + mild + dead + "; then: entrain run FILE"
	}
	return s
}

// breaches are how many events of which table broke their contracts.
func (j *judge) breaches() map[string]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.counts)
}

// transform passes a batch through the contracts and the hook, as far as there are
// any; after an error the batch is freed.
func (p *Pipeline) transform(b *entrain.Batch) (*entrain.Batch, error) {
	return p.held(b, p.letters.condemn)
}

// held is transform, with what parks an event; nil where nothing can be parked.
func (p *Pipeline) held(b *entrain.Batch, park func(e *entrain.Event, reason string)) (*entrain.Batch, error) {
	broken := p.contracts.look(b)
	out := b
	if p.opt.Transform != nil {
		var err error
		if out, err = p.opt.Transform(b); err != nil {
			free(b)
			return nil, fmt.Errorf("transform: %w", err)
		}
		if len(broken) > 0 {
			broken = remaining(broken, out)
		}
	}
	if len(broken) == 0 {
		return out, nil
	}
	if err := p.contracts.act(broken, park); err != nil {
		free(out)
		return nil, err
	}
	return out, nil
}
