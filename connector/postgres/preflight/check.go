package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// Ask runs one query of the session under examination and returns its rows as
// text; a NULL is an empty text.
type Ask func(ctx context.Context, sql string, args ...string) ([][]string, error)

// page is where every code has its section.
const page = "postgres.md"

// check is one entry of a list of examinations over facts of type F.
type check[F any] struct {
	code string
	// judge returns what is not as it should be. A finding without a status
	// is one that is well but worth saying.
	judge func(f *F) []entrain.Finding
	// applies, if not nil, says whether the facts for it were to be had.
	applies func(f *F) bool
}

// judgeAll runs the checks and says of each that found nothing that it is well.
func judgeAll[F any](checks []check[F], f *F, object string) []entrain.Finding {
	var all []entrain.Finding
	for _, c := range checks {
		if c.applies != nil && !c.applies(f) {
			continue
		}
		found := c.judge(f)
		if len(found) == 0 {
			found = []entrain.Finding{{Object: object}}
		}
		for _, finding := range found {
			finding.Code, finding.Doc = c.code, Doc(c.code)
			all = append(all, finding)
		}
	}
	return all
}

func codesOf[F any](checks []check[F]) []string {
	codes := make([]string, len(checks))
	for i, c := range checks {
		codes[i] = c.code
	}
	return codes
}

// Doc is the place in the documentation of a code.
func Doc(code string) string { return page + "#" + code }

// Who may do what a fix says.
const (
	superuser     = "as a superuser"
	tableOwner    = "as the owner of the table"
	databaseOwner = "as the owner of the database"
)

// fixes turns statements into steps at the server.
func (s *server) fixes(who string, statements ...string) []entrain.Fix {
	steps := make([]entrain.Fix, len(statements))
	for i, sql := range statements {
		steps[i] = entrain.Fix{Where: s.where + ", " + who, SQL: sql}
	}
	return steps
}

// inTransaction is one step of statements that must take effect together.
func inTransaction(statements ...string) string {
	return "BEGIN;\n" + strings.Join(statements, ";\n") + ";\nCOMMIT"
}

// setting changes a setting of the server that a reload makes effective.
func (s *server) setting(name, value string) []entrain.Fix {
	return s.fixes(superuser, alterSystem(name, value), "SELECT pg_reload_conf()")
}

// settingAtStart changes one that only a start makes effective.
func (s *server) settingAtStart(name, value string) []entrain.Fix {
	steps := s.fixes(superuser, alterSystem(name, value))
	steps[0].Restart = true
	return steps
}

func alterSystem(name, value string) string {
	return fmt.Sprintf("ALTER SYSTEM SET %s = %s", name, value)
}

func warning(object, why string, fix ...entrain.Fix) entrain.Finding {
	return entrain.Finding{Status: entrain.FindingWarning, Object: object, Why: why, Fix: fix}
}

func failure(object, why string, fix ...entrain.Fix) entrain.Finding {
	return entrain.Finding{Status: entrain.FindingError, Object: object, Why: why, Fix: fix}
}

func one(finding entrain.Finding) []entrain.Finding { return []entrain.Finding{finding} }

// some names the first few and counts the others.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
