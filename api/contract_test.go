package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// contract is the document and the way from a request to its operation.
var contract = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapiJSON)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater())
})

var contractRouter = sync.OnceValues(func() (routers.Router, error) {
	doc, err := contract()
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// requireDescribed holds an answer against the document: its status must stand
// there, and its body must have the described form. What no operation takes is
// an error of the common form.
func requireDescribed(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	doc, err := contract()
	require.NoError(t, err)
	router, err := contractRouter()
	require.NoError(t, err)
	route, pathParams, err := router.FindRoute(r)
	if err != nil && r.Method == http.MethodOptions && a.body == "{}" {
		return // a preflight of a path whose parameters have a slash in them
	}
	if err != nil || r.Method == http.MethodHead {
		var body any
		require.NoError(t, json.Unmarshal([]byte(a.body), &body))
		require.NoError(t, doc.Components.Schemas["Error"].Value.VisitJSON(body, openapi3.EnableJSONSchema2020()), "%s %s: %s", r.Method, r.URL, a.body)
		return
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: pathParams, Route: route},
		Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader([]byte(a.body))),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	require.NoError(t, err, "%s %s: %d %s", r.Method, r.URL, a.status, a.body)
}

// What is not in the document does not pass for an answer.
func TestContractRefuses(t *testing.T) {
	t.Parallel()
	router, err := contractRouter()
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, pingPath, nil)
	require.NoError(t, err)
	route, pathParams, err := router.FindRoute(r)
	require.NoError(t, err)
	for what, tc := range map[string]struct {
		status int
		body   string
	}{
		"another status":   {418, `{}`},
		"another form":     {201, `{"task_id":"` + taskID + `"}`},
		"a further field":  {404, `{"code":"ResourceNotFound","message":"m","detail":"m","requestInfo":{"method":"GET","params":{},"payload":{},"time":"2026-01-02T03:04:05Z"},"backend":"text"}`},
		"no task's UUID":   {201, `{"task_name":"ping","worker_id":"a","worker_group":"b","task_id":7,"client_id":"","provisioner_id":"","worker_type":"","http_origin":""}`},
		"an unknown error": {404, `{"code":"Gone","message":"m","detail":"m","requestInfo":{"method":"GET","params":{},"payload":{},"time":"2026-01-02T03:04:05Z"}}`},
	} {
		err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: pathParams, Route: route},
			Status:                 tc.status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: io.NopCloser(strings.NewReader(tc.body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		})
		require.Error(t, err, what)
	}
}

// The table of errors and the lists of outcomes are the code's own.
func TestDocumentSaysWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	var doc struct {
		Errors []struct {
			Code    code
			Status  int
			Meaning string
		} `json:"x-errors"`
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Parameters map[string]struct {
				Schema struct{ Enum []workflows.Outcome }
			}
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(openapiJSON, &doc))
	table, codes := map[code]int{}, []string{}
	for _, e := range doc.Errors {
		require.NotEmpty(t, e.Meaning)
		table[e.Code] = e.Status
		codes = append(codes, string(e.Code))
	}
	require.Equal(t, statuses, table)
	require.ElementsMatch(t, codes, doc.Components.Schemas["Error"].Properties["code"].Enum)
	require.Equal(t, workflows.JobOutcomes, doc.Components.Parameters["outcome"].Schema.Enum)
	for name, schema := range doc.Components.Schemas {
		for _, o := range workflows.JobOutcomes {
			if outcomes := schema.Properties["outcome"].Enum; len(outcomes) > 0 {
				require.Contains(t, outcomes, string(o), name)
			}
		}
	}

	// Every route is described, and nothing else.
	s, err := newServer(testConfig("http://127.0.0.1:1"), Deps{Starter: &fakeStarter{}})
	require.NoError(t, err)
	var served, described []string
	for _, route := range s.routes().Routes() {
		if route.Method != http.MethodHead {
			path := strings.NewReplacer(":worker_id", "{worker_id}", ":worker_group", "{worker_group}", ":task_id", "{task_id}").Replace(route.Path)
			served = append(served, route.Method+" "+path)
		}
	}
	for path, operations := range doc.Paths {
		for method := range operations {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	require.Equal(t, served, described)
}

func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	get := func(path string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, public+path, nil)
		require.NoError(t, err)
		return r
	}
	a := h.do(get(openapiPath))
	require.Equal(t, http.StatusOK, a.status)
	var doc struct {
		OpenAPI string
		Servers []struct{ URL string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, public, doc.Servers[0].URL)

	response, err := h.client.Do(get(docsPath))
	require.NoError(t, err)
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", response.Header.Get("Content-Type"))
	require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
	text := string(page)
	for _, part := range []string{public, "DELETE /api/v1/workers/{worker_id}/group/{worker_group}/jobs/{task_id}", "RequestConflict", "Idempotency-Key", `id="schema-Job"`} {
		require.Contains(t, text, part)
	}
	for _, part := range []string{"<script", "src=", "@import", "url("} {
		require.NotContains(t, text, part, "nothing of another site")
	}
	require.Zero(t, h.auth.Asked())
}

// fuzzes is how many requests the contract's fuzz makes of each operation.
const fuzzes = 80

// Requests made out of the document, right ones and wrong ones, get answers of
// the document, and never a 5xx.
func TestContractFuzz(t *testing.T) {
	t.Parallel()
	doc, err := contract()
	require.NoError(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	limited, _ := withLimits(config.Limit{Jobs: 3, Per: time.Hour}, config.Limit{})
	h := newHarness(t, withInventory(), limited)
	h.starter.change = func(ctx context.Context, _ starter.View) (starter.View, error) { return ended(), ctx.Err() }
	counts := map[int]int{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if path == docsPath { // which is no JSON
				continue
			}
			for range fuzzes {
				r := h.fuzzed(random, method, path, append(slices.Clone(item.Parameters), op.Parameters...))
				h.starter.view = climbing()
				a := h.do(r)
				require.Less(t, a.status, 500, "%s %s: %s", method, r.URL, a.body)
				counts[a.status]++
			}
		}
	}
	t.Log(counts)
	for _, status := range []int{200, 201, 202, 400, 401, 403, 404} {
		require.NotZero(t, counts[status], "the fuzz reaches every kind of answer: %v", counts)
	}
}

// strange is what parameters are filled with, beside what is right.
var strange = []string{
	"", " ", "-", "-x", "a/b", "../..", "%", "%zz", "\x00", "é", "\u202e", "a\nb", strings.Repeat("a", 129), strings.Repeat("9", 400), "null", "1e9", "-1", "0",
	"{task_name}", "'; DROP TABLE jobs", "\" OR 1=1", "true", "NaN", "30s", "MDC1",
}

var sane = map[string][]string{
	"worker_id": {"ms1-10", "MS1-10"}, "worker_group": {"mdc1", "none"}, "task_id": {taskID, strings.ToUpper(taskID)},
	"task_name": {"ping", "ipmi_reset", "reboot"}, "outcome": {"back"}, "limit": {"1", "100"}, "continuationToken": {"AAAA"},
	"provisioner_id": {"p"}, "worker_type": {"w"}, "wait": {"0", "1s"}, "priority": {"bulk"}, "drain": {"true", "false"}, "why": {"a bug"}, "reimage": {"false"}, "on_loan": {"true"}, "If-None-Match": {`"x"`}, "Idempotency-Key": {"k"},
}

func (h *harness) fuzzed(random *rand.Rand, method, path string, parameters openapi3.Parameters) *http.Request {
	h.t.Helper()
	one := func(values []string) string { return values[random.IntN(len(values))] }
	query, headers := url.Values{}, http.Header{}
	bare := random.IntN(3) == 0 // what must be said and no more: of the others many sets are refused
	for _, p := range parameters {
		value := one(sane[p.Value.Name])
		switch {
		case bare && !p.Value.Required:
			continue
		case bare && p.Value.In == "query":
			query.Set(p.Value.Name, value)
			continue
		case !bare && random.IntN(10) == 0:
			value = one(strange)
		}
		switch p.Value.In {
		case "path":
			path = strings.Replace(path, "{"+p.Value.Name+"}", url.PathEscape(value), 1)
		case "query":
			for range []int{0, 0, 0, 1, 1, 1, 1, 1, 1, 2}[random.IntN(10)] { // none, one or, at times, two
				query.Add(p.Value.Name, value)
			}
		case "header":
			if random.IntN(2) == 0 && !strings.ContainsAny(value, "\x00\n") {
				headers.Set(p.Value.Name, value)
			}
		}
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, public+path+"?"+query.Encode(), nil)
	require.NoError(h.t, err)
	if random.IntN(10) > 0 {
		who := []tcclient.Credentials{sheriff, sheriff, sheriff, monitor, stranger}[random.IntN(5)]
		require.NoError(h.t, who.SignRequest(r))
	}
	maps.Copy(r.Header, headers)
	if random.IntN(20) == 0 {
		setBody(r, "{}", 2)
	}
	return r
}
