package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// commitTimes tells when transactions were committed, by their 32-bit numbers;
// subtransactions have the time of the transaction around them.
type commitTimes map[string]time.Time

// readCommits asks pg_waldump for the commits in a stretch of a server's log.
// pg_xact_commit_timestamp would not do: for what a subscription applied it
// returns the time of the commit at the source.
func readCommits(ctx context.Context, srv *pgserver.Server, from, to string) (commitTimes, error) {
	program := srv.Install().Path("pg_waldump")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("commit times are read by pg_waldump, which is in the package postgresql-%d: %w", major, err)
	}
	first, err := walFile(from)
	if err != nil {
		return nil, err
	}
	last, err := walFile(to)
	if err != nil {
		return nil, err
	}
	p := newProcess(ctx, program, "--path", filepath.Join(srv.Dir(), "data", "pg_wal"),
		"--rmgr", "Transaction", "--start", from, "--end", to, first, last)
	p.cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	times, err := parseCommits(out)
	_, waitErr := p.wait(ctx)
	return times, errors.Join(waitErr, err)
}

// walFile names the segment of 16 MB, on the first timeline, that holds a
// position. Without it pg_waldump learns the size of segments from whichever it
// finds first, which may be one that the server has only prepared.
func walFile(lsn string) (string, error) {
	var high, low uint32
	if _, err := fmt.Sscanf(lsn, "%X/%X", &high, &low); err != nil {
		return "", fmt.Errorf("position %q: %w", lsn, err)
	}
	return fmt.Sprintf("%08X%08X%08X", 1, high, low>>24), nil
}

var (
	commitLine = regexp.MustCompile(`tx: +(\d+),.* desc: COMMIT (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC`)
	subxacts   = regexp.MustCompile(`; subxacts:((?: \d+)+)`)
)

func parseCommits(r io.Reader) (commitTimes, error) {
	times := commitTimes{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := commitLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		at, err := time.Parse("2006-01-02 15:04:05", m[2])
		if err != nil {
			return nil, err
		}
		times[m[1]] = at
		if sub := subxacts.FindStringSubmatch(lines.Text()); sub != nil {
			for _, xid := range strings.Fields(sub[1]) {
				times[xid] = at
			}
		}
	}
	return times, lines.Err()
}
