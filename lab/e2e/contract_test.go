package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
)

// contract is the document that a site's API serves of itself.
type contract struct {
	once   sync.Once
	router routers.Router
	err    error
}

func (c *contract) load(ctx context.Context, url string) (routers.Router, error) {
	c.once.Do(func() {
		var request *http.Request
		if request, c.err = http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/openapi.json", http.NoBody); c.err != nil {
			return
		}
		var a answer
		if a, c.err = try(&http.Client{}, request); c.err != nil {
			return
		}
		var doc *openapi3.T
		if doc, c.err = openapi3.NewLoader().LoadFromData([]byte(a.Raw)); c.err != nil {
			return
		}
		doc.Servers = nil // asked is a process; PUBLIC_URL may be that of a balancer before it
		c.router, c.err = gorillamux.NewRouter(doc)
	})
	return c.router, c.err
}

// requireDescribed holds an answer of the real API, with Temporal behind it, against
// the document.
func (s *site) requireDescribed(t *testing.T, request *http.Request, a answer) {
	t.Helper()
	router, err := s.contract.load(t.Context(), s.APIURL)
	require.NoError(t, err)
	route, path, err := router.FindRoute(request)
	require.NoError(t, err, "%s %s", request.Method, request.URL)
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: path, Route: route},
		Status:                 a.Status, Header: a.Header, Body: io.NopCloser(strings.NewReader(a.Raw)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}), "%s %s: %d %s", request.Method, request.URL, a.Status, a.Raw)
}
