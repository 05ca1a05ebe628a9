package throwaway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArtifactsReadsChecksumLists(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	got, err := Artifacts(sum + "  org/a/1/a-1.jar\n" + sum + "  org/b/2/b-2.jar\n")
	want := Artifact{Path: "org/b/2/b-2.jar", SHA256: sum}
	if err != nil || len(got) != 2 || got[1] != want {
		t.Errorf("Artifacts = %v, %v, want two with %v second", got, err, want)
	}
	t.Setenv("ENTRAIN_MAVEN", "file:///mirror/")
	if got := want.URL(); got != "file:///mirror/org/b/2/b-2.jar" {
		t.Errorf("URL() = %s", got)
	}
	for _, bad := range []string{"org/a/1/a-1.jar", "0a0a org/a/1/a-1.jar", sum, strings.Repeat("zz", 32) + " a"} {
		if got, err := Artifacts(bad); err == nil {
			t.Errorf("Artifacts(%q) = %v, want an error", bad, got)
		}
	}
}

// TestDownloadAllChecksEach: what does not have its checksum is named, and an
// error however many are fetched at once.
func TestDownloadAllChecksEach(t *testing.T) {
	mirror := t.TempDir()
	t.Setenv("ENTRAIN_MAVEN", "file://"+mirror)
	var all []Artifact
	for i := range 3 * parallel {
		name := fmt.Sprintf("%d.jar", i)
		if err := os.WriteFile(filepath.Join(mirror, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		all = append(all, Artifact{Path: name, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(name)))})
	}
	dir := t.TempDir()
	if err := DownloadAll(t.Context(), all, dir); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if text, err := os.ReadFile(filepath.Join(dir, a.Path)); err != nil || string(text) != a.Path {
			t.Errorf("%s has %q, %v", a.Path, text, err)
		}
	}
	all[5].SHA256 = all[4].SHA256
	if err := DownloadAll(t.Context(), all, t.TempDir()); err == nil || !strings.Contains(err.Error(), "/5.jar: sha256") {
		t.Errorf("a wrong checksum gives %v", err)
	}
}

// TestServersLeadToNoFile: SE-06. A mirror can lead to another server, whose content has to
// have the checksum all the same, and to no file of this machine.
func TestServersLeadToNoFile(t *testing.T) {
	const text = "content"
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(kept, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	content := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
	defer content.Close()
	leads := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := content.URL
		if r.URL.Path == "/file" {
			to = "file://" + kept
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}))
	defer leads.Close()
	client := fetchClient()
	defer client.CloseIdleConnections()
	for path, leadsThere := range map[string]bool{"/other": true, "/file": false} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = get(t.Context(), client, leads.URL+path, f)
		got, _ := os.ReadFile(f.Name())
		f.Close()
		if (err == nil) != leadsThere || (string(got) == text) != leadsThere {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
