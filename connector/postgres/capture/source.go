package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// Config says what to capture and how. The zero value of every field but
// URL is usable.
type Config struct {
	// URL of the database, as a URL or key=value string. See the package
	// documentation for passwords and TLS.
	URL connector.Secret `yaml:"url"`
	// Name of the source in event ids. Default: "source".
	Name string `yaml:"name"`
	// Slot and Publication to read from. Default: entrain_<pipeline>; a name
	// that a slot cannot have is changed and gets a mark of its own.
	Slot        string `yaml:"slot"`
	Publication string `yaml:"publication"`
	// Publications to read from at once, instead of Publication: a change is
	// captured if one of them has it. They are never made. Default: none.
	Publications []string `yaml:"publications"`
	// Create makes the publication and the slot if they are missing.
	Create bool `yaml:"create"`
	// Tables to capture. With Create the publication is made for the tables
	// that exist then; what an existing publication sends is filtered.
	Tables Tables `yaml:"tables"`
	// MaxEventBytes is the largest change that is taken into memory; a larger
	// one is a named stop. Default 256 MB, at most 1 GB.
	MaxEventBytes connector.ByteSize `yaml:"max_event_bytes"`
	// DecodingWorkMem is the source's logical_decoding_work_mem for this
	// session: transactions that fit are not spilled to its disk. Default:
	// what the server has.
	DecodingWorkMem connector.ByteSize `yaml:"decoding_work_mem"`

	// CreateTimeout bounds the making of the slot, which waits for the
	// transactions that are open then, in any database of the server. Default
	// 1 minute.
	CreateTimeout time.Duration `yaml:"create_timeout"`
	// Failover makes the slot one that standbys of version 17 or later take
	// over if their sync_replication_slots is on. Set, it also changes a slot
	// that exists. Default: on for slots made here, where the server can.
	Failover *bool `yaml:"failover"`
	// Heartbeat writes a small logical message to the source's log so often,
	// which never reaches the sink, and moves the position at each. At least
	// 1 second. Default: off; what passes in the log moves the position
	// anyway, though in larger steps.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Guard says what becomes of a slot that holds back much of the log.
	Guard SlotGuard `yaml:"slot_guard"`

	// Pipeline names slot and publication by default. Default: "default".
	Pipeline string `yaml:"-"`
	// Log receives one line an event of interest. Default: discarded.
	Log *slog.Logger `yaml:"-"`
	// Copies chooses the tables whose existing rows are copied first, which is
	// for Check to know; nil: none.
	Copies func(schema, name string) bool `yaml:"-"`
	// Standalone: no changes are captured after that.
	Standalone bool `yaml:"-"`
	// Never: no rows are ever copied.
	Never bool `yaml:"-"`
	// State is a folder for what has to be remembered here; see SlotGuard. It need
	// not exist.
	State string `yaml:"-"`
	// Leased: other processes wait for the slot; the server is asked to give it up
	// 10 s after it last heard from this one.
	Leased bool `yaml:"-"`
}

// Source captures the changes of one database. It implements entrain.Source,
// entrain.Bounder, entrain.Guarder, entrain.Leaser, entrain.Noter, entrain.Teardowner, entrain.OnceLister, entrain.Digester and
// entrain.Sequencer and may be used by several goroutines.
type Source struct {
	cfg   Config
	wants func(schema, name string) bool
	named func(schema, name string) bool // views and the like; nil: none
	until *until                         // nil: endless
	said  *sync.Map

	notes    entrain.Notes                     // nil: nobody else can take over
	leases   *atomic.Int64                     // that are held; shared by bounded copies
	retained *atomic.Pointer[entrain.Retained] // shared by bounded copies
}

// until is where a bounded source ends, for all its sessions.
type until struct {
	mu sync.Mutex
	at *lsn // nil: where the log ends when the first session opens
}

const (
	defaultMaxEvent = 256 << 20
	maxMaxEvent     = 1 << 30

	defaultCreateTimeout = time.Minute
	leastHeartbeat       = time.Second
)

var notInSlots = regexp.MustCompile(`[^a-z0-9_]`)

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// withDefaults fills in what was left out.
func (cfg Config) withDefaults() Config {
	cfg.Pipeline = cmp.Or(cfg.Pipeline, "default")
	cfg.Name = cmp.Or(cfg.Name, "source")
	own := "entrain_" + objectName(cfg.Pipeline)
	cfg.Slot = cmp.Or(cfg.Slot, own)
	cfg.Publication = cmp.Or(cfg.Publication, own)
	cfg.MaxEventBytes = cmp.Or(cfg.MaxEventBytes, defaultMaxEvent)
	cfg.CreateTimeout = cmp.Or(cfg.CreateTimeout, defaultCreateTimeout)
	cfg.Guard = cfg.Guard.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// objectName makes a pipeline's name one that a slot can have. Names that it has
// to change get a mark of the original, so that no two pipelines share a slot.
func objectName(pipeline string) string {
	name := notInSlots.ReplaceAllString(strings.ToLower(pipeline), "_")
	if name == pipeline {
		return name
	}
	h := fnv.New32a()
	h.Write([]byte(pipeline))
	return fmt.Sprintf("%s_%08x", name, h.Sum32())
}

// NewSource checks the configuration and returns the source; it does not dial.
func NewSource(cfg Config) (*Source, error) {
	if cfg.URL == "" {
		return nil, errors.New("source.url is missing")
	}
	cfg = cfg.withDefaults()
	if !slotName.MatchString(cfg.Slot) {
		return nil, fmt.Errorf("source.slot %q: a slot's name has up to 63 of a-z, 0-9 and _", cfg.Slot)
	}
	if cfg.MaxEventBytes < 0 || cfg.MaxEventBytes > maxMaxEvent {
		return nil, fmt.Errorf("source.max_event_bytes %s: at most 1GB", cfg.MaxEventBytes)
	}
	if cfg.CreateTimeout < 0 {
		return nil, fmt.Errorf("source.create_timeout %s: it must not be negative", cfg.CreateTimeout)
	}
	if err := cfg.Guard.check(cfg); err != nil {
		return nil, fmt.Errorf("source.slot_guard: %w", err)
	}
	if cfg.Heartbeat != 0 && cfg.Heartbeat < leastHeartbeat {
		return nil, fmt.Errorf("source.heartbeat %s: at least %s", cfg.Heartbeat, leastHeartbeat)
	}
	url, err := dial.ParseURL(cfg.URL, "entrain")
	if err != nil {
		return nil, fmt.Errorf("source.url: %w", err)
	}
	if err := oneKindOfServer(url); err != nil {
		return nil, fmt.Errorf("source.url: %w", err)
	}
	wants, err := cfg.Tables.matcher()
	if err != nil {
		return nil, fmt.Errorf("source.tables: %w", err)
	}
	named, err := cfg.Tables.named()
	if err != nil {
		return nil, fmt.Errorf("source.tables: %w", err)
	}
	return &Source{cfg: cfg, wants: wants, named: named, said: &sync.Map{},
		leases: &atomic.Int64{}, retained: &atomic.Pointer[entrain.Retained]{}}, nil
}

// warn says something about the source's tables, once: sessions that are tried
// again find the same.
func (s *Source) warn(what string, args ...any) {
	if _, said := s.said.LoadOrStore(fmt.Sprint(append([]any{what}, args...)...), true); !said {
		s.cfg.Log.Warn(what, args...)
	}
}

// Until implements entrain.Bounder: "now" or an LSN such as 16/B374D848.
func (s *Source) Until(target string) (entrain.Source, error) {
	bounded, err := s.Bounded(target)
	if err != nil {
		return nil, err
	}
	return bounded, nil
}

// Bounded is Until with the type of the source.
func (s *Source) Bounded(target string) (*Source, error) {
	bounded := *s
	bounded.until = &until{}
	if target != "now" {
		at, err := parseLSN(target)
		if err != nil {
			return nil, err
		}
		bounded.until.at = &at
	}
	return &bounded, nil
}

// Build builds a source from the source section of a pipeline file.
func Build(env connector.Env, decode connector.Decode) (*Source, error) {
	cfg := Config{Pipeline: env.Pipeline, Log: env.Log, Copies: env.Copies, Standalone: env.Standalone, Never: env.Never,
		Leased: env.Leased, State: env.State}.withDefaults()
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	return NewSource(cfg)
}

// Open implements entrain.Source. From the zero Position it starts where the
// slot stands, and makes publication and slot if it may; from any other it
// checks that the slot still has the history behind it (P5).
func (s *Source) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sess, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	r, err := sess.open(ctx, from)
	if err != nil {
		sess.close(ctx)
		return nil, err
	}
	return r, nil
}
