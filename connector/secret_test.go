package connector

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSecretMasks proves P8: however a text with a credential is printed, the
// credential does not show, and what is harmless does.
func TestSecretMasks(t *testing.T) {
	const canary = "c4n4ry/+"
	tests := []struct {
		secret Secret
		shows  string
	}{
		{"postgres://app:" + "c4n4ry%2F%2B" + "@db.example:5432/shop?sslmode=require", "app:***@db.example:5432/shop?sslmode=require"},
		{"postgres:///shop?host=/run/pg&password=" + "c4n4ry%2F%2B", "host=%2Frun%2Fpg"},
		{"https://h.example/?token=" + canary, "h.example"},
		{"host=db user=app password=" + canary, "host=db user=app password=***"},
		{"host=db password='" + canary + " \\' x' user=app", "user=app"},
		{canary, mask},
		{"c4n4ry:/" + canary, mask},
		{"mailto:" + canary, mask},
		{"%zz://" + canary, mask},
	}
	for _, tt := range tests {
		text, err := json.Marshal(tt.secret)
		if err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprintf("%s %v %q %#v %s %s", tt.secret, tt.secret, tt.secret, tt.secret, text, tt.secret.LogValue())
		if strings.Contains(all, "c4n4ry") {
			t.Errorf("%s shows its credential: %s", tt.secret.Reveal(), all)
		}
		if !strings.Contains(tt.secret.String(), tt.shows) {
			t.Errorf("%s is shown as %s, without %s", tt.secret.Reveal(), tt.secret, tt.shows)
		}
	}
	if Secret("").String() != "" {
		t.Error("no text is shown as something")
	}
}
