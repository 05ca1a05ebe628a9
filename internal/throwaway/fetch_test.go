package throwaway

import (
	"crypto/sha256"
	"fmt"
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
