package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/entrainsync/entrain"
)

// mostRedirects is how often an answer may lead to another path.
const mostRedirects = 3

// elsewhere is the error of a request that was to be sent on to another server.
type elsewhere struct{ to *url.URL }

// Error implements error. The path of an address is nobody's business: it may hold what
// the other server takes for a credential.
func (e *elsewhere) Error() string {
	return fmt.Sprintf("sent on to %q", e.to.Scheme+"://"+e.to.Host)
}

// stay lets a request go on to another path of the same server only: schemas and
// credentials are for the server that the file names, and an answer must not choose
// what else we ask on its behalf.
func stay(next *http.Request, before []*http.Request) error {
	if first := before[0].URL; next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return &elsewhere{to: next.URL}
	}
	if len(before) > mostRedirects {
		return errors.New("sent on too often")
	}
	return nil
}

func (c *Client) stopElsewhere(r *Request, to *elsewhere) error {
	return &entrain.Stop{
		Code: "registry_redirect",
		What: fmt.Sprintf("the schema registry %s answers for %s that another server is to be asked: it is %v", c.address(), r.about(), to),
		Why:  "schemas and credentials go to no server that FILE does not name",
		Next: "if that is the registry, name it as schema_registry.url in FILE; else see who answers: " + c.curl("-i ", "/subjects") + "; then: entrain run FILE",
		Err:  to,
	}
}
