package main

import (
	"errors"
	"path/filepath"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/letters"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// buildLetters finds out where dead letters are kept.
func (l *loaded) buildLetters() error {
	d := l.file.DeadLetter
	if !d.On() {
		return nil
	}
	if d.Topic == "" {
		return l.allSeeLetters()
	}
	in := entrain.LetterPlace{Name: d.Topic, Pipeline: l.file.Name}
	for _, end := range l.deliveries() {
		in.Deliveries = append(in.Deliveries, end.env.Pipeline)
	}
	host, err := l.letterHost()
	if err == nil {
		l.letters, err = host.LetterBox(in)
	}
	return l.file.Place(err, "dead_letter", "topic")
}

// allSeeLetters refuses places that not all processes see which deliver.
func (l *loaded) allSeeLetters() error {
	for _, end := range l.sinks {
		if _, keeps := end.sink.(entrain.LetterKeeper); l.file.External() && !keeps {
			return end.section.Place(errors.New("dead_letter: several processes deliver from the stream, and this sink has no place for dead letters " +
				"that all of them see; with a stream of type kafka: dead_letter.topic"))
		}
	}
	return nil
}

// letterHost is the end of the file at whose servers a topic of dead letters is: the
// stream, else the one sink that has topics.
func (l *loaded) letterHost() (entrain.LetterHost, error) {
	if host, ok := l.log.(entrain.LetterHost); ok {
		return host, nil
	}
	var hosts []entrain.LetterHost
	for _, end := range l.sinks {
		if host, ok := end.sink.(entrain.LetterHost); ok {
			hosts = append(hosts, host)
		}
	}
	switch {
	case len(hosts) == 0:
		return nil, errors.New("neither stream nor sink is of type kafka, so that no brokers are known for this topic: " +
			"leave it out (a PostgreSQL sink keeps the letters in a table, others in a file), or set file")
	case len(hosts) > 1 && l.log != nil:
		return nil, errors.New("several sinks are of type kafka, and each could have this topic: leave it out, or take a stream of type kafka, which then has it")
	}
	return hosts[0], nil
}

// letterOwner is a delivery that may have dead letters.
type letterOwner struct {
	sink   entrain.Sink
	name   string // of the delivery, or of the pipeline
	folder string // of its state
}

// keepLetters has a delivery keep its dead letters, if the file says so.
func (l *loaded) keepLetters(o *pipeline.Options, of letterOwner) {
	o.DeadLetters, o.LeftLetters = l.deadLetters(of), l.leftLetters(of)
}

// defaultFile has the letters of who names no place.
func defaultFile(of letterOwner) *letters.File {
	return letters.NewFile(filepath.Join(of.folder, "dead_letters.jsonl"), of.name)
}

// deadLetters is where a delivery keeps its dead letters; nil if the file has none.
func (l *loaded) deadLetters(of letterOwner) *pipeline.DeadLetters {
	d := l.file.DeadLetter
	if !d.On() {
		return nil
	}
	rules := parking.Rules{Attempts: l.file.Retry.MaxAttempts}
	if d.Unit == "event" {
		rules.Unit = parking.Events
	}
	at := l.letterPlace(of)
	store := &notedLetters{LetterStore: letters.In(l.keeper(of, at)), note: noteOf(of), at: at}
	return &pipeline.DeadLetters{Store: store, Rules: rules, Alert: d.AlertThreshold, Audit: audit(of.folder).write}
}
