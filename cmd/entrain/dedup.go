package main

import (
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
	"github.com/entrainsync/entrain/pipeline"
)

// codeDeduplication is about the keys of deduplication.
const codeDeduplication = "deduplication_pattern"

// dedup is what recognises changes that the sink of a delivery has already; nil if the
// file asks for none.
func (l *loaded) dedup(delivery string) (*pipeline.Dedup, error) {
	d := l.file.Deduplication
	if d == nil {
		return nil, nil
	}
	spec, err := all.Registry().Keys(d.Backend)
	if err != nil {
		return nil, l.file.Place(err, "deduplication", "backend")
	}
	store, err := spec.Keys(connector.KeysConfig{URL: d.URL, CA: d.CA, Cert: d.Cert, Key: d.Key, TTL: time.Duration(d.TTLSeconds) * time.Second})
	if err != nil {
		return nil, l.file.Place(err, "deduplication", "url")
	}
	return &pipeline.Dedup{Store: store, Pattern: d.Pattern, Delivery: delivery}, nil
}

// patternWhy says what is wrong with the file's pattern; empty if nothing is.
func (l *loaded) patternWhy() string {
	d := l.file.Deduplication
	if d == nil {
		return ""
	}
	if d.Added != "" {
		return fmt.Sprintf("key_pattern %s does not tell any two changes apart (rows of one COPY share an LSN): the keys end with %s besides", d.KeyPattern, d.Added)
	}
	if _, lacks := d.Pattern.Completed(); lacks != "" {
		return fmt.Sprintf("key_pattern %s does not tell any two changes apart and is used as it is (unsafe_exact_pattern): of those with one key only the last is "+
			"recognised when it comes again, and the others are there twice", d.KeyPattern)
	}
	return ""
}

// checkPattern examines the keys of deduplication.
func (l *loaded) checkPattern() []entrain.Finding {
	f := entrain.Finding{Code: codeDeduplication, Object: "pipeline file", Doc: "dedup.md#" + codeDeduplication}
	if f.Why = l.patternWhy(); f.Why != "" {
		f.Status = entrain.FindingWarning
		f.Fix = []entrain.Fix{{Where: "pipeline file", Config: fmt.Sprintf("deduplication:\n  key_pattern: %q\n", l.file.Deduplication.KeyPattern+l.lacking())}}
	}
	return []entrain.Finding{f}
}

// lacking is what the file's pattern needs.
func (l *loaded) lacking() string {
	if added := l.file.Deduplication.Added; added != "" {
		return added
	}
	_, lacks := l.file.Deduplication.Pattern.Completed()
	return lacks
}
