package config

import (
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

// Deduplication is the deduplication: section. With it, changes that a crash brings
// again are recognised by keys in a store and left out, for sinks that keep no
// position.
type Deduplication struct {
	// Backend is where the keys are: "redis", the default.
	Backend string `yaml:"backend"`
	// URL of the server: redis://user:password@host:6379/0, rediss:// for TLS, or
	// unix:///path.
	URL connector.Secret `yaml:"url,required"`
	// CA is a PEM file with who signed the server's certificate; Cert and Key are
	// ours.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// TTLSeconds is how long a key is kept. Default 86400, a day.
	TTLSeconds int `yaml:"ttl_seconds"`
	// KeyPattern makes the keys, with {source}, {table}, {lsn}, {ordinal}, {key}, {id}
	// and {delivery}. What it lacks to tell any two changes apart is added. Default
	// "entrain:{delivery}:{id}".
	KeyPattern string `yaml:"key_pattern"`
	// UnsafeExactPattern adds nothing to the pattern: changes that have one key are
	// then not all recognised.
	UnsafeExactPattern bool `yaml:"unsafe_exact_pattern"`

	// Pattern is what the keys are made with, and Added what that has besides
	// KeyPattern.
	Pattern dedup.Pattern `yaml:"-"`
	Added   string        `yaml:"-"`
}

const day = 86400

// checkDeduplication completes and checks the section.
func (d *document) checkDeduplication(root *node) error {
	s := d.Deduplication
	if s == nil {
		return nil
	}
	if s.Backend == "" {
		s.Backend = "redis"
	}
	if s.TTLSeconds == 0 && root.find("deduplication", "ttl_seconds") == root.find("deduplication") {
		s.TTLSeconds = day
	}
	if s.TTLSeconds < 1 {
		return root.find("deduplication", "ttl_seconds").errorf("expected 1 or more, such as %d", day)
	}
	if s.KeyPattern == "" {
		s.KeyPattern = dedup.Default
	}
	var err error
	if s.Pattern, err = dedup.Parse(s.KeyPattern); err != nil {
		return root.find("deduplication", "key_pattern").errorf("%s", err)
	}
	if !s.UnsafeExactPattern {
		s.Pattern, s.Added = s.Pattern.Completed()
	}
	return nil
}
