package redis

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// The codes of the findings.
const (
	codeServer     = "redis_server"
	codeDurability = "redis_durability"
	codeEviction   = "redis_eviction"
	codeMemory     = "redis_memory"
	codeTorn       = "redis_torn"
)

func codes() []string { return []string{codeServer, codeDurability, codeEviction, codeMemory} }

// Codes implements [entrain.Checker].
func (l *Log) Codes() []string { return codes() }

// Codes implements [entrain.Checker].
func (s *Sink) Codes() []string { return append(codes(), codeTorn) }

// Check implements [entrain.Checker].
func (l *Log) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	return l.server.check(ctx, checkFor{maxBytes: l.maxBytes})
}

// Check implements [entrain.Checker].
func (s *Sink) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	return s.server.check(ctx, checkFor{entries: true})
}

// checkFor is what the server is to be used for.
type checkFor struct {
	maxBytes int64 // the room that messages are to have; 0: it is not limited
	entries  bool  // others read what is written
}

// check examines the server.
func (s *server) check(ctx context.Context, use checkFor) (entrain.Report, error) {
	report := entrain.Report{Server: "Redis at " + s.url, Connect: s.url}
	c, err := s.dial(ctx)
	if err != nil {
		return report, err
	}
	defer c.close()
	f, err := c.ask(ctx)
	if err != nil {
		return report, fmt.Errorf("examine the server: %w", err)
	}
	report.Findings = []entrain.Finding{s.checkServer(&f), s.checkDurability(&f), s.checkEviction(&f), s.checkMemory(&f, use.maxBytes)}
	if use.entries {
		torn, err := s.checkTorn(ctx, c)
		if err != nil {
			return report, fmt.Errorf("examine the server: %w", err)
		}
		report.Findings = append(report.Findings, torn)
	}
	for i := range report.Findings {
		found := &report.Findings[i]
		found.Doc, found.Object = "redis.md#"+found.Code, report.Server
	}
	return report, nil
}

// bad is how bad it is that a server may lose what it acknowledged.
func (s *server) bad() entrain.FindingStatus {
	if s.relaxed {
		return entrain.FindingWarning
	}
	return entrain.FindingError
}

func (s *server) where() string { return s.plain + ", as an administrator" }

func (s *server) checkServer(f *facts) entrain.Finding {
	found := entrain.Finding{Code: codeServer}
	switch {
	case !f.supported():
		found.Why = fmt.Sprintf("it is version %s, and %d is the oldest that can be used", f.version, oldest)
	case f.cluster:
		found.Why = "it is a node of a cluster, which spreads over its nodes what is written at once here"
	case f.replica:
		found.Why = "it is a replica, which takes no writes"
	default:
		return found
	}
	found.Status = entrain.FindingError
	return found
}

func (s *server) checkDurability(f *facts) entrain.Finding {
	found := entrain.Finding{Code: codeDurability}
	if f.synced() {
		return found
	}
	found.Status = s.bad()
	found.Why = "it acknowledges what is not on its disk yet (" + f.persistence() + ") and would lose that when it ends"
	found.Fix = []entrain.Fix{{Where: s.where(), Shell: s.admin(setAppend) + " && " + s.admin(keepSetting)}}
	if f.appendLog && f.sync == "" {
		found.Why = "whether it has on its disk what it acknowledges cannot be seen: CONFIG GET is not allowed"
		found.Fix = []entrain.Fix{{Where: s.where(), Shell: s.admin("ACL SETUSER " + quote(s.user()) + " " + quote(mayAsk))}}
	}
	return found
}

func (s *server) checkEviction(f *facts) entrain.Finding {
	found := entrain.Finding{Code: codeEviction}
	if f.evicts() {
		found.Status = s.bad()
		found.Why = "it removes any keys when its memory is full (maxmemory-policy " + f.policy + "), changes that nobody has read among them"
		found.Fix = []entrain.Fix{{Where: s.where(), Shell: s.admin(setNoEvict) + " && " + s.admin(keepSetting)}}
	}
	return found
}

// checkTorn warns of what a server does with a transaction that a crash has torn: our
// stream takes out what comes back of it, entries that others read are theirs.
func (s *server) checkTorn(ctx context.Context, c *conn) (entrain.Finding, error) {
	found := entrain.Finding{Code: codeTorn}
	value, err := c.setting(ctx, "aof-load-truncated")
	if value != "yes" || !c.seen().appendLog {
		return found, err
	}
	found.Status = entrain.FindingWarning
	found.Why = "killed in the middle of a write, it starts without the torn transaction but may leave it in its file (aof-load-truncated yes): " +
		"its entries come back when it is started once more, beside those that were written anew. With no it refuses to start until redis-check-aof --fix has mended the file"
	found.Fix = []entrain.Fix{{Where: s.where(), Shell: s.admin(setWhole) + " && " + s.admin(keepSetting)}}
	return found, nil
}

func (s *server) checkMemory(f *facts, maxBytes int64) entrain.Finding {
	found := entrain.Finding{Code: codeMemory}
	if f.maxMemory > 0 && maxBytes > f.maxMemory/10*9 {
		found.Status = entrain.FindingWarning
		found.Why = fmt.Sprintf("its maxmemory is %d MB and max_bytes %d MB: its memory will be full before the stream is, for all that use it",
			f.maxMemory>>20, maxBytes>>20)
	}
	return found
}
