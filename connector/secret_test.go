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
		{"postgres:///shop?host=/run/pg&password=" + "c4n4ry%2F%2B", "host=/run/pg&password=***"},
		{"https://h.example/?token=" + canary, "h.example"},
		{"host=db user=app password=" + canary, "host=db user=app password=***"},
		{"host=db password='" + canary + " \\' x' user=app", "user=app"},
		{`host=db password=a\ b` + canary + ` user=app`, "password=*** user=app"},
		{`host=db password='a b` + canary, mask},
		{`host=db password='a b` + canary + `\`, mask},
		{`host=db password=a ` + canary + ` port=1`, mask},
		{`host = /run/pg  port= 1`, `host = /run/pg  port= 1`},
		{"host=db password= " + canary, "host=db password= ***"},
		{"postgres://u:12#" + canary + "@h/x", mask},
		{"postgres://u:12/" + canary + "@h/x", mask},
		{"postgres://u:12?" + canary + "@h/x", mask},
		{"postgres://u:1@2/" + canary + "@h/x", mask},
		{"postgres://u@h/a%40b?application_name=a@b", "/a%40b?application_name=a@b"},
		{"postgres://u:c4n4ry^|{}<>\"@h/x?sslmode=verify-full", "://u:***@h/x?sslmode=verify-full"},
		{"postgres://u:1?x=c4n4ry@h/x", "://u:***@h/x"},
		{"postgres://u:1#c4n4ry@h/x", "://u:***@h/x"},
		{"postgres://u:c4n4ry@[2001:db8::1]:1,[::2]:2/x?connect_timeout=3", "://u:***@[2001:db8::1]:1,[::2]:2/x?connect_timeout=3"},
		{"postgres://h:1,h2/x?pass%77ord=c4n4ry&sslpassword=c4n4ry&host=/a", "://h:1,h2/x?pass%77ord=***&sslpassword=***&host=/a"},
		{"postgres://h/x?c4n4ry&y=1", "://h/x?***&y=***"},
		{"postgres://u:1/x?y=c4n4ry@h/x", mask},
		{"postgres://u:1@c4n4ry@h/x", mask},
		{"postgres://u:c4n4ry/x", mask},
		{"postgres://h/x#c4n4ry", mask},
		{"postgres://h/x?passfile=/home/me@c4n4ry/pgpass&password=a@c4n4ry&user=me@org", "://h/x?passfile=***&password=***&user=me@org"},
		{"postgres://u:" + canary + " password=x@h/x", mask},
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

// TestMaskURLs proves P8 for texts that quote a URL from a wrong place.
func TestMaskURLs(t *testing.T) {
	for text, want := range map[string]string{
		`unknown type "postgres://u:c4n4ry@h/x", known: postgres`: `unknown type "postgres://u:***@h/x", known: postgres`,
		"postgres://u:a@c4n4ry@h/x: no such file":                 "postgres://u:***@h/x: no such file",
		"postgres://u@h:5432/x and mail@h":                        "postgres://u@h:5432/x and mail@h",
		`slot "postgres://u:a c4n4ry@h/x" is none`:                `slot "postgres://u:***@h/x" is none`,
		`slot "postgres://my user:a @ c4n4ry@h/x" is none`:        `slot "postgres://my user:***@h/x" is none`,
		"slot: 'postgres://u:a\\\"c4n4ry@h/x'\nnext line a@b":     "slot: 'postgres://u:***@h/x'\nnext line a@b",
		`slot "host=h password=c4n4ry" is none`:                   `slot "host=h password=***" is none`,
		`slot "password = 'a \" c4n4ry' user=u" is none`:          `slot "password = ***" is none`,
		"slot: 'host=h SSLPassword=a c4n4ry port=1'\nnext":        "slot: 'host=h SSLPassword=***\nnext",
		"open host=h password=a\"c4n4ry: no such file":            "open host=h password=***",
		`x "a", url "postgres://h/x?password=c4n4ry" and "b"`:     `x "a", url "postgres://h/x?password=***" and "b"`,
		"the password is wrong; the PASSWORD of role x":           "the password is wrong; the PASSWORD of role x",
	} {
		if got := MaskURLs(text); got != want {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}
