package lab

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// taskclusterReference is an extract of generated/references.json of Taskcluster
// v44.23.4: some calls of its services and the schemas of these, without their
// descriptions.
//
//go:embed schemas/taskcluster.json
var taskclusterReference []byte

// call is one call of a service, as its reference has it.
type call struct {
	name          string // "queue.claimWork"
	method        string
	path          *regexp.Regexp // with a group for each argument
	scopes        any            // an expression
	input, output *jsonschema.Schema
}

// readCalls compiles the reference.
func readCalls() ([]call, error) {
	var reference struct {
		Calls map[string]struct {
			Method, Route, Input, Output string
			Scopes                       any
		}
		Schemas map[string]json.RawMessage
	}
	if err := json.Unmarshal(taskclusterReference, &reference); err != nil {
		return nil, fmt.Errorf("taskcluster reference: %w", err)
	}
	const base = "https://taskcluster.test/"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft6) // that of the services' own metaschema
	compiler.AssertFormat()
	for name, text := range reference.Schemas {
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("taskcluster reference, %s: %w", name, err)
		}
		if err := compiler.AddResource(base+name, schema); err != nil {
			return nil, fmt.Errorf("taskcluster reference, %s: %w", name, err)
		}
	}
	compile := func(service, name string) (*jsonschema.Schema, error) {
		if name == "" {
			return nil, nil //nolint:nilnil // the call has none
		}
		return compiler.Compile(base + "schemas/" + service + "/" + strings.TrimSuffix(name, "#"))
	}
	var calls []call
	for name, c := range reference.Calls {
		service, _, _ := strings.Cut(name, ".")
		input, err := compile(service, c.Input)
		if err != nil {
			return nil, err
		}
		output, err := compile(service, c.Output)
		if err != nil {
			return nil, err
		}
		calls = append(calls, call{name, strings.ToUpper(c.Method), routeForm(service, c.Route), c.Scopes, input, output})
	}
	return calls, nil
}

// routeForm makes a route a pattern. What may hold a slash is written like that
// in the services' sources: a task queue's ID and an artifact's name.
func routeForm(service, route string) *regexp.Regexp {
	form := regexp.MustCompile(`<(\w+)>`).ReplaceAllString(route, `(?P<$1>[^/]+)`)
	for _, wide := range []string{"taskQueueId", "name"} {
		form = strings.Replace(form, "(?P<"+wide+">[^/]+)", "(?P<"+wide+">.+)", 1)
	}
	return regexp.MustCompile(`\A/api/` + service + `/v1` + form + `\z`)
}

// argForms are the forms of what stands in routes (the params of services/queue and
// services/hooks, src/api.js).
var argForms = map[string]*regexp.Regexp{
	"taskId":        slugForm,
	"runId":         regexp.MustCompile(`^[1-9]*[0-9]+$`),
	"taskQueueId":   regexp.MustCompile(`^[A-Za-z0-9_-]{1,38}/[A-Za-z0-9_-]{1,38}$`),
	"provisionerId": genericForm,
	"workerType":    genericForm,
	"workerGroup":   genericForm,
	"workerId":      genericForm,
	"name":          regexp.MustCompile(`^[\x20-\x7e]+$`),
	"hookGroupId":   regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`),
	"hookId":        regexp.MustCompile(`^[a-zA-Z0-9-_/]{1,64}$`),
}

var (
	slugForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$`)
	genericForm = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,38}$`)
)

// apiError is an answer in the form of the services' errors.
type apiError struct {
	status  int
	code    string
	message string
}

// Error implements error.
func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

// asked is one request on its way through a call.
type asked struct {
	args   map[string]string
	body   map[string]any
	raw    []byte
	client string
	scopes []string
}

// api serves a call of queue or hooks.
func (t *Taskcluster) api(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	answer, name, output, err2 := t.called(r, raw)
	if err = errors.Join(err, err2); err == nil && output != nil {
		err = conforms(output, answer)
		if err != nil {
			t.mu.Lock()
			t.mistake("%s: the stand-in's own answer: %s", name, err)
			t.mu.Unlock()
		}
	}
	t.mu.Lock()
	t.ring()
	t.mu.Unlock()
	if e, ok := errors.AsType[*apiError](err); ok {
		replyError(w, e.status, e.code, e.message, nil)
		return
	}
	if err != nil {
		replyError(w, http.StatusInternalServerError, "InternalServerError", err.Error(), nil)
		return
	}
	replyJSON(w, http.StatusOK, answer)
}

func (t *Taskcluster) called(r *http.Request, raw []byte) (answer any, name string, output *jsonschema.Schema, err error) {
	c, in, err := t.route(r, raw)
	if err != nil {
		return nil, "", nil, err
	}
	if in.client, in.scopes, err = t.who(r); err != nil {
		return nil, "", nil, err
	}
	if err := t.wellFormed(c, in); err != nil {
		return nil, "", nil, err
	}
	answer, err = t.serve(r, c, in)
	return answer, c.name, c.output, err
}

// route finds the call, and counts it.
func (t *Taskcluster) route(r *http.Request, raw []byte) (call, *asked, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.calls {
		m := c.path.FindStringSubmatch(r.URL.EscapedPath())
		if m == nil || c.method != r.Method {
			continue
		}
		t.made = append(t.made, c.name)
		if t.isDown(c.name) {
			return c, nil, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "down")
		}
		if r.URL.RawQuery != "" {
			t.mistake("%s: a query, where the call has none", c.name)
			return c, nil, refuse(http.StatusBadRequest, "InvalidRequestArguments", "query %s", r.URL.RawQuery)
		}
		in := &asked{args: map[string]string{}, raw: raw}
		for i, arg := range c.path.SubexpNames() {
			if arg != "" {
				value, err := url.PathUnescape(m[i])
				if form := argForms[arg]; err != nil || form != nil && !form.MatchString(value) {
					t.mistake("%s: %s %q is of no form of its own", c.name, arg, value)
					return c, nil, refuse(http.StatusBadRequest, "InvalidRequestArguments", "%s", arg)
				}
				in.args[arg] = value
			}
		}
		return c, in, nil
	}
	t.mistake("no such call: %s %s", r.Method, r.URL.Path)
	return call{}, nil, refuse(http.StatusNotFound, "ResourceNotFound", "no such call")
}

// wellFormed holds the request's body against the call's schema. The services let
// a body pass where none is expected; roller has no reason to send one.
func (t *Taskcluster) wellFormed(c call, in *asked) error {
	var err error
	switch {
	case c.input == nil && len(bytes.TrimSpace(in.raw)) > 0:
		err = errors.New("a body, where the call has none")
	case c.input != nil && json.Unmarshal(in.raw, &in.body) != nil:
		err = errors.New("the body is not a JSON object")
	case c.input != nil:
		err = conforms(c.input, json.RawMessage(t.withoutNote(c, in)))
	}
	if err == nil {
		return nil
	}
	t.mu.Lock()
	t.mistake("%s: %s", c.name, err)
	t.mu.Unlock()
	return refuse(http.StatusBadRequest, "InputValidationError", "Schema Validation Failed!\n%s", err)
}

func conforms(schema *jsonschema.Schema, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(instance)
}
