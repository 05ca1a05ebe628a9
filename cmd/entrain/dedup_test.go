package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// TestDedupPatterns: a pattern that does not tell changes apart is completed and
// warned of; mistakes are placed.
func TestDedupPatterns(t *testing.T) {
	const head = "name: shop\nsource: {type: postgres, url: 'postgres://db/shop'}\nsink: {type: file, path: '-'}\n"
	for section, want := range map[string]struct{ pattern, why, err string }{
		"{url: 'redis://db'}": {pattern: "entrain:{delivery}:{id}"},
		"{url: 'redis://db', key_pattern: 'sync:{source}:{table}:{lsn}'}": {
			pattern: "sync:{source}:{table}:{lsn}:{ordinal}", why: "the keys end with :{ordinal} besides"},
		"{url: 'redis://db', key_pattern: 'sync:{lsn}', unsafe_exact_pattern: true}": {pattern: "sync:{lsn}", why: "used as it is"},
		"{backend: redis}":                               {err: "url"},
		"{backend: memcached, url: 'redis://db'}":        {err: ":4:26: unknown deduplication type \"memcached\", known: redis"},
		"{url: 'http://db'}":                             {err: "the URL cannot be read"},
		"{url: 'redis://db', ttl_seconds: 0}":            {err: "expected 1 or more"},
		"{url: 'redis://db', key_pattern: '{lsm}:{id}'}": {err: "{lsm"},
	} {
		p, _ := talk(source)
		l, err := p.load(writeFile(t, head+"deduplication: "+section+"\n"))
		switch {
		case want.err != "":
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%s gives %v, want %s", section, err, want.err)
			}
		case err != nil:
			t.Errorf("%s: %v", section, err)
		case l.file.Deduplication.Pattern.String() != want.pattern:
			t.Errorf("%s has the pattern %s", section, l.file.Deduplication.Pattern)
		case want.why == "" && l.patternWhy() != "" || !strings.Contains(l.patternWhy(), want.why):
			t.Errorf("%s: %q", section, l.patternWhy())
		case (l.checkPattern()[0].Why != "") != (want.why != ""):
			t.Errorf("%s: check finds %+v", section, l.checkPattern())
		}
	}
}

// TestDedupIntoAPipe: a process writes to standard output with deduplication, is
// killed again and again, and loses nothing; what it says of duplicates adds up.
func TestDedupIntoAPipe(t *testing.T) {
	url := shop(t)
	file := writeFile(t, strings.Replace(toFile, "path: DIR/out.jsonl", "path: '-'", 1)+
		"deduplication: {url: 'redis://"+redistest.Start(t).Addr()+"', key_pattern: 'DIR:{lsn}'}\n")
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	var all strings.Builder
	for n := range 4 {
		p := launch(t, url, "run", file)
		p.until(t, file, "streaming", streams)
		for i := range 20 {
			order(t, url, 2000*n+100*i+1, 2000*n+100*i+100)
		}
		pgtest.Eventually(t, patience, "some are written", func() bool { return strings.Count(p.stdout.String(), "\n") > 500 })
		p.signal(t, syscall.SIGKILL)
		p.exit(t, -1)
		if !strings.Contains(p.stderr.String(), "does not tell any two changes apart") {
			t.Error("the log does not warn of the pattern")
		}
		all.WriteString(p.stdout.String())
	}
	last := launch(t, url, "run", "--until", "now", file)
	last.exit(t, exitOK)
	all.WriteString(last.stdout.String())
	ids := map[string]int{}
	for _, line := range strings.Split(all.String(), "\n") {
		if _, id, found := strings.Cut(line, `"id":"`); found {
			id, _, _ = strings.Cut(id, `"`)
			ids[id]++
		}
	}
	doubles := 0
	for _, n := range ids {
		doubles += n - 1
	}
	if len(ids) != 8000 {
		t.Errorf("%d changes of 8000 are there", len(ids))
	}
	t.Logf("%d doubles: of what was written when the process was killed and had no key yet", doubles)
}
