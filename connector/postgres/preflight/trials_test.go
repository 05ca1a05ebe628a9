package preflight_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// trial provokes a finding in a lab in which all is well.
type trial struct {
	code   string
	status entrain.FindingStatus
	// since is the first version that knows the matter.
	since int
	// unfixable: nothing exact can be advised, so there must be no fix.
	unfixable bool
	// settings of the server, and what makes it take them.
	settings map[string]string
	by       effect
	// source and target are statements of the owner in the databases; do is
	// for everything else.
	source, target []string
	do             func(l *lab)
	// held is done again after each restart.
	held func(l *lab)
	// unless reports that the server at hand does not have the matter.
	unless func(l *lab) bool
}

// calm are settings under which a server has nothing that a finding says.
var calm = map[string]string{"max_slot_wal_keep_size": "16GB"}

// eachLabServer runs the test on a server of its own for each version.
func eachLabServer(t *testing.T, run func(t *testing.T, srv *pgserver.Server, major int)) {
	for _, major := range pgtest.Majors(t) {
		t.Run(pgtest.Install(t, major).Version, func(t *testing.T) {
			t.Parallel()
			run(t, pgtest.Start(t, major, calm), major)
		})
	}
}

// TestEveryFixRemovesItsFinding: P5, P7. Each finding is provoked, its fix is
// executed as it stands, step by step, as whom and where it says; then the
// finding is gone.
func TestEveryFixRemovesItsFinding(t *testing.T) {
	eachLabServer(t, func(t *testing.T, srv *pgserver.Server, major int) {
		seen := map[string]int{}
		for _, tr := range trials() {
			seen[tr.code]++
			name := tr.code
			if n := seen[tr.code]; n > 1 {
				name += strings.Repeat("+", n-1)
			}
			if major >= tr.since {
				t.Run(name, func(t *testing.T) { tr.run(newLab(t, srv, major)) })
			}
		}
	})
}

func (tr trial) run(l *lab) {
	if tr.unless != nil && tr.unless(l) {
		if before := l.findings(tr.code); len(before) > 0 {
			l.t.Fatalf("found %+v where there can be none", before)
		}
		return
	}
	if before := l.findings(tr.code); len(before) > 0 {
		l.t.Fatalf("found before it was provoked: %+v", before)
	}
	tr.provoke(l)
	var found []entrain.Finding
	pgtest.Eventually(l.t, settle, "finding "+tr.code, func() bool {
		found = l.findings(tr.code)
		return len(found) > 0
	})
	for _, f := range found {
		tr.judge(l.t, f)
	}
	if tr.unfixable || l.t.Failed() {
		return
	}
	for _, f := range found {
		l.mend(f.Fix)
	}
	if tr.held != nil && tr.by == byRestart {
		tr.held(l)
	}
	pgtest.Eventually(l.t, settle, tr.code+" is gone after its fix", func() bool {
		found = l.findings(tr.code)
		return len(found) == 0
	})
}

// provoke makes the trial's circumstances, and has them end with the test.
func (tr trial) provoke(l *lab) {
	l.t.Helper()
	if tr.settings != nil {
		l.configure(tr.settings, tr.by)
	}
	l.asKeeper(l.source, tr.source...)
	l.asKeeper(l.target, tr.target...)
	if tr.do != nil {
		tr.do(l)
	}
	if tr.held != nil {
		tr.held(l)
	}
}

// inTransaction tells a fix that is one transaction from one that is one
// statement.
func inTransaction(sql string) bool {
	return strings.HasPrefix(sql, "BEGIN;\n") && strings.HasSuffix(sql, ";\nCOMMIT")
}

var emptyName = regexp.MustCompile(`(^|[ .(,])""($|[ .),])`)

func (tr trial) judge(t *testing.T, f entrain.Finding) {
	t.Helper()
	if f.Status != tr.status || f.Object == "" || f.Why == "" || f.Doc != "postgres.md#"+tr.code {
		t.Errorf("finding %+v, want status %s, an object, a reason and its place in the docs", f, tr.status)
	}
	if tr.unfixable != (len(f.Fix) == 0) {
		t.Errorf("fix %+v, unfixable: %v", f.Fix, tr.unfixable)
	}
	for _, fix := range f.Fix {
		set := 0
		for _, text := range []string{fix.SQL, fix.Shell, fix.Config} {
			if text != "" {
				set++
			}
		}
		if set != 1 || strings.HasSuffix(fix.SQL, ";") || emptyName.MatchString(fix.SQL) || fix.Where == "" {
			t.Errorf("fix %+v is not one exact step", fix)
		}
		if strings.Contains(fix.SQL, " DROP TABLE ") && !inTransaction(fix.SQL) {
			t.Errorf("fix %+v: what is changed between two commits is not carried", fix)
		}
	}
	t.Logf("%s: %s", f.Object, f.Why)
}

// judgedByFacts are the codes that no server here can be brought to; their
// findings, which have no fix, are tested on facts.
var judgedByFacts = []string{"server_version", "clock_skew", "slot_lag", "replication_connection"}

// tested elsewhere in this package on servers.
var testedApart = []string{"pooler", "standby_source", "server_encoding", "target_encoding", "unchanged_values"}

// Every code is provoked by a trial, or is in one of the lists above.
func TestEveryCodeIsTested(t *testing.T) {
	tried := map[string]bool{}
	for _, tr := range trials() {
		tried[tr.code] = true
	}
	for _, code := range append(slices.Clone(judgedByFacts), testedApart...) {
		if tried[code] {
			t.Errorf("%s has a trial and is in a list of those that have none", code)
		}
		tried[code] = true
	}
	for _, code := range append(preflight.SourceCodes(), preflight.TargetCodes()...) {
		if !tried[code] {
			t.Errorf("no test provokes %s", code)
		}
	}
	known := append(preflight.SourceCodes(), preflight.TargetCodes()...)
	for code := range maps.Keys(tried) {
		if !slices.Contains(known, code) {
			t.Errorf("a test is for %s, which is no code", code)
		}
	}
}

// In a lab nothing is found, every code says so, and the shapes are told.
func TestWhereAllIsWell(t *testing.T) {
	eachLabServer(t, func(t *testing.T, srv *pgserver.Server, major int) {
		l := newLab(t, srv, major)
		l.partitions, l.classes = 3, true // all codes apply
		l.file.Sink.ConflictStrategy, l.file.Sink.SoftDelete.Column = "source_lsn_priority", oddMark
		l.asKeeper(l.target, "ALTER TABLE "+oddTable+" ADD "+sqltext.Ident(oddMark)+" timestamptz DEFAULT NULL")
		wantWell(t, l)
		l.copies = true
		wantWell(t, l)
		if source, _ := l.check(); len(source.Copies) != 1 || source.Copies[0].Name != oddName || !source.Copies[0].Defined {
			t.Errorf("copies %+v", source.Copies)
		}
	})
}

func wantWell(t *testing.T, l *lab) {
	t.Helper()
	source, target := l.check()
	for _, part := range []struct {
		report entrain.Report
		codes  []string
	}{{source, preflight.SourceCodes()}, {target, preflight.TargetCodes()}} {
		var codes []string
		for _, f := range part.report.Findings {
			codes = append(codes, f.Code)
			if f.Status != entrain.FindingOK || len(f.Fix) > 0 || f.Object == "" {
				t.Errorf("%+v", f)
			}
		}
		if !slices.Equal(codes, part.codes) {
			t.Errorf("reported %q, want %q", codes, part.codes)
		}
		if n := len(part.report.Tables); n != 1 || part.report.Tables[0].Name != oddName || !part.report.Tables[0].Columns[0].Key {
			t.Errorf("tables %+v", part.report.Tables)
		}
	}
}
