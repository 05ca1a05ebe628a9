package campaign

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// canaries are credentials that must not show anywhere, by the place they are
// given in. Each is unlike anything else.
var canaries = map[string]string{
	"source URL":    `Kz7/source+ 9x"`,
	"sink DSN":      `Qw4'sink\ Yb2`,
	"PGPASSWORD":    `Jm3%env&Tt8`,
	"secret file":   `Vn6#file=Uh1`,
	"password file": `Xd8|pass:Bw5`,
	"sslpassword":   `Fr2?ssl#Nq7`,
	"in the file":   `Gh9-inline_Lc3`, // nothing in it has to be escaped anywhere
}

// spellings are the forms in which a text could hide.
func spellings(text string) map[string]string {
	forms := map[string]string{
		"as it is": text, "query": url.QueryEscape(text), "userinfo": strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), "path": url.PathEscape(text), "quoted": strings.Trim(strconv.Quote(text), `"`),
		"backwards": backwards(text), "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
	}
	for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 { // bytes in front of it in what is encoded
			whole := enc.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
			skip := []int{0, 2, 3}[before] // characters that those bytes are in, too
			forms[fmt.Sprint(name, " behind ", before)] = whole[skip : len(whole)-2]
		}
	}
	return forms
}

func backwards(text string) string {
	letters := []byte(text)
	slices.Reverse(letters)
	return string(letters)
}

// shown names the canaries that a text gives away, and how.
func shown(text string) []string { return shownOf(text, canaries) }

func shownOf(text string, canaries map[string]string) []string {
	var found []string
	for place, canary := range canaries {
		for form, spelling := range spellings(canary) {
			if strings.Contains(text, spelling) {
				found = append(found, place+", "+form)
			}
		}
	}
	return found
}

// TestCanariesAreFound: the search that the next test relies on finds each
// spelling, wherever it stands.
func TestCanariesAreFound(t *testing.T) {
	if got := shown("nothing of interest, and " + base64.StdEncoding.EncodeToString([]byte("other"))); len(got) > 0 {
		t.Errorf("found %v", got)
	}
	for place, canary := range canaries {
		for form, spelling := range spellings(canary) {
			if len(shown("before "+spelling+" behind")) == 0 {
				t.Errorf("%s, %s is not found", place, form)
			}
		}
		for _, around := range []string{"", "a", "ab", "abc", "abcd"} {
			between := []byte(around + canary + around)
			if len(shown(base64.StdEncoding.EncodeToString(between))) == 0 || len(shown(base64.URLEncoding.EncodeToString(between))) == 0 {
				t.Errorf("%s is not found between %q", place, around)
			}
		}
	}
}

// vault is a pipeline whose roles log in by SCRAM, and all that was said.
type vault struct {
	t    *testing.T
	site site
	dir  string
	said strings.Builder
}

// TestSE02SecretCanary: P8. No credential shows in anything that the program
// writes: outputs, errors of every kind, the state folder, a stack dump, its
// command line.
func TestSE02SecretCanary(t *testing.T) {
	v := newVault(t)
	u, err := url.Parse(v.site.source)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1 port=" + u.Port() + " dbname=" + databaseOf(t, v.site.target)
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(canaries["sink DSN"])
	good := `source: {type: postgres, url: "postgres://capture:${SOURCE_SECRET}@` + u.Host + u.Path + `", create: true}
snapshot: {mode: never}
sink: {type: postgres, url: "host=` + address + ` user=apply password='${SINK_SECRET}'"}
state: {dir: DIR/state}
`
	t.Setenv("SOURCE_SECRET", strings.ReplaceAll(url.QueryEscape(canaries["source URL"]), "+", "%20"))
	t.Setenv("SINK_SECRET", quoted)
	t.Setenv("PGPASSWORD", canaries["PGPASSWORD"])
	if err := os.WriteFile(filepath.Join(v.dir, "secret"), []byte(canaries["secret file"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v.life(good)
	passfile := filepath.Join(v.dir, "pgpass")
	if err := os.WriteFile(passfile, []byte("127.0.0.1:*:*:*:"+strings.ReplaceAll(canaries["password file"], ":", `\:`)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_SECRET", url.QueryEscape(canaries["sslpassword"]))
	key := encryptedKey(t, v.dir)
	for _, bad := range []string{
		strings.Replace(good, "SOURCE_SECRET", "SINK_SECRET", 1),                                                                  // wrong password
		strings.Replace(good, u.Host, "127.0.0.1:1", 1),                                                                           // nobody there
		strings.Replace(good, "user=apply", "user=nobody", 1),                                                                     // no such role
		strings.Replace(good, "${SINK_SECRET}", "${file:DIR/secret}", 1),                                                          // wrong, from a file
		strings.Replace(good, " password='${SINK_SECRET}'", "", 1),                                                                // PGPASSWORD, which is wrong
		strings.Replace(good, "create: true", "craete: true", 1),                                                                  // an unknown key beside it
		strings.Replace(good, "postgres://capture", "postgres ://capture", 1),                                                     // no URL
		strings.Replace(good, "password=", "pass word=", 1),                                                                       // no DSN
		strings.Replace(good, "create: true}", "create: true", 1),                                                                 // no YAML
		good + "sslpassword: ${SINK_SECRET}\n",                                                                                    // an unknown key that has it
		strings.Replace(good, u.Path+`"`, u.Path+`?sslmode=verify-full&sslpassword=${SSL_SECRET}"`, 1),                            // no TLS there
		strings.Replace(good, u.Path+`"`, u.Path+`?sslmode=require&sslpassword=${SSL_SECRET}&sslcert=`+key+`&sslkey=`+key+`"`, 1), // of another key
		strings.Replace(good, "capture:${SOURCE_SECRET}@"+u.Host+u.Path, "capture@"+u.Host+u.Path+"?passfile="+passfile, 1),       // wrong, from the password file
		good + "name: ${SOURCE_SECRET}\n",
		strings.Replace(good, "create: true", "create: ${SINK_SECRET}", 1),
	} {
		v.fails(bad)
	}
	v.inTheFile(u.Host)
	v.files()
	if got := shown(v.said.String()); len(got) > 0 {
		t.Errorf("shown: %q", got)
	}
	if v.said.Len() < 5000 {
		t.Errorf("only %d bytes were said", v.said.Len())
	}
}

func newVault(t *testing.T) *vault {
	t.Helper()
	s, srv := shop(t, someMajor(t))
	v := &vault{t: t, site: s, dir: t.TempDir()}
	for role, secret := range map[string]string{"capture": canaries["source URL"], "apply": canaries["sink DSN"]} {
		pgtest.Exec(t, s.source, fmt.Sprintf("CREATE ROLE %s SUPERUSER LOGIN REPLICATION PASSWORD E'%s'", role,
			strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(secret)))
	}
	admin := srv.SocketURL("postgres")
	pgtest.Exec(t, admin, "COPY (SELECT unnest(ARRAY['local all all trust', 'host all postgres all trust', 'host all all all scram-sha-256'])) "+
		"TO PROGRAM 'cat > pg_hba.conf'", "SELECT pg_reload_conf()")
	return v
}

// write makes a pipeline file of the text.
func (v *vault) write(text string) string {
	path := filepath.Join(v.dir, "vault.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", v.dir)), 0o600); err != nil {
		v.t.Fatal(err)
	}
	return path
}

// call runs the program to its end and keeps what it says.
func (v *vault) call(args ...string) int {
	v.t.Helper()
	p := launch(v.t, args...)
	<-p.ended
	v.said.WriteString(p.stdout.String() + p.stderr.String())
	return p.code()
}

// life is what happens when all is well, with as much talk as there is, and a
// stack dump of the running program.
func (v *vault) life(text string) {
	v.t.Helper()
	path := v.write(text)
	for _, args := range [][]string{
		{"config", "show", path}, {"check", path}, {"check", "-o", "json", path}, {"check", "--fix-sql", path},
		{"run", "--until", "now", "--log-level", "debug", path},
	} {
		if code := v.call(args...); code != exitOK {
			v.t.Fatalf("%v: exit code %d\n%s", args, code, tail(v.said.String(), 2000))
		}
	}
	p := launch(v.t, "run", "--log-level", "debug", path)
	p.logs(v.t, "streaming")
	v.call("status", path)
	v.call("status", "-o", "json", path)
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		v.t.Fatal(err)
	}
	p.signal(v.t, syscall.SIGQUIT)
	<-p.ended
	if !p.stderr.has("goroutine ") {
		v.t.Errorf("no stack dump: %s", &p.stderr)
	}
	v.said.WriteString(string(line) + p.stdout.String() + p.stderr.String())
}

// fails runs the commands on a file with which none of them can succeed.
func (v *vault) fails(text string) {
	v.t.Helper()
	path := v.write(text)
	for _, args := range [][]string{
		{"run", "--until", "now", "--log-level", "debug", path}, {"check", path}, {"config", "show", path},
		{"teardown", "--yes", path},
	} {
		before := v.said.Len()
		if code := v.call(args...); code == exitOK && args[0] == "run" {
			v.t.Errorf("%v succeeds with\n%s", args, text)
		}
		if got := shown(v.said.String()[before:]); len(got) > 0 {
			v.t.Errorf("%s of\n%s\nshows %q:\n%s", args[0], text, got, v.said.String()[before:])
		}
	}
}

// files adds what the pipelines have left in the state folder.
func (v *vault) files() {
	v.t.Helper()
	err := filepath.WalkDir(filepath.Join(v.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		v.said.Write(text)
		return err
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// inTheFile puts a credential into the file itself, with every mistake around it
// that is easily made, and where it does not belong.
func (v *vault) inTheFile(host string) {
	v.t.Helper()
	canary := canaries["in the file"]
	at := "postgres://capture:" + canary + "@" + host + "/x"
	words := "host=h password=" + canary
	for _, source := range []string{
		"{type: postgres, url: " + at + "}",
		"{type: postgres, url: " + at,
		`{type: postgres, url: "` + at + "}",
		"{type: postgres, url:" + at + "}",
		"\n  type: postgres\n  url:" + at,
		"\n  type: postgres\n  url: >\n    " + at + "\n   wrong",
		"{type: postgres, url: " + at + ", url: " + at + "}",
		"{type: postgres, url: {password: " + canary + "}}",
		"{type: postgres, url: [" + canary + "]}",
		"{type: postgres, url: !" + canary + " x}",
		"{type: " + at + "}",
		"{type: postgres, url: 'postgres://h/x', slot: '" + at + "'}",
		"{type: postgres, url: 'postgres://h/x', create: '" + at + "'}",
		"{type: postgres, url: 'postgres://capture:a%" + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://capture:a " + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://capture:1#" + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://capture:1/" + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://capture:1?" + canary + "@h/x'}",
		"{type: postgres, url: 'host=h password= " + canary + " sslmode=nonsense'}",
		"{type: postgres, url: 'host=h password=a " + canary + " port=1'}",
		"{type: postgres, url: 'postgres://h/x', slot: '" + words + "'}",
		"{type: postgres, url: 'postgres://h/x', slot: 'password=" + canary + "'}",
		`{type: postgres, url: 'postgres://h/x', slot: "password='a \" ` + canary + `'"}`,
		"{type: postgres, url: 'postgres://h/x', create: '" + words + "'}",
		"{type: postgres, url: 'postgres://h/x', max_event_bytes: 'sslpassword = " + canary + "'}",
		"\n  type: postgres\n  slot: " + words + "\n  url: 'postgres://h/x'",
		"{type: '" + words + "'}",
		"{type: postgres, url: 'postgres://h/x', slot: 'postgres://u:a " + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://h/x', slot: 'postgres://my u:a/ @" + canary + "@h/x'}",
		"{type: postgres, url: 'postgres://h/x', slot: 'postgres://h/x?password=" + canary + "'}",
	} {
		v.fails("source: " + source + "\nsink: {type: file}\nstate: {dir: DIR/state}\n")
	}
	for _, args := range [][]string{
		{"run", at}, {"check", at}, {"init", at}, {"run", words}, {"check", words}, {words}, {"run", "--until", words, "x"},
		{"init", "--from", at, "--to", "-", "--name", words}, {"run", "postgres://u:a " + canary + "@h/x"}, {"init", "--from", at, "--to", at}, {"init", "--from", at + "?sslmode=nonsense", "--to", "-"},
	} {
		if v.call(args...) == exitOK {
			v.t.Errorf("%v succeeds", args)
		}
	}
}

// encryptedKey is a file with a key whose password nobody has.
func encryptedKey(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "key.pem")
	block := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00000000000000000000000000000000"}, Bytes: make([]byte, 64)}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
