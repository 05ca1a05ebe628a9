package throwaway

import (
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
