package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v3"
	"github.com/taskcluster/httpbackoff/v3"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// Why actions are not shown, though nothing went wrong. Taskcluster stores none
// since v39 (2020): its dashboard has no buttons any more.
var (
	ErrNotStored = errors.New("the Taskcluster service stored nothing: since Taskcluster v39 it accepts worker actions and drops them, and its dashboard shows none; use a hook for each action instead")
	ErrNoCall    = errors.New("the Taskcluster service no longer has the call declareProvisioner (404), and its dashboard has no buttons for actions; use a hook for each action instead")
)

// Registration is what becomes buttons of Taskcluster's dashboard.
type Registration struct {
	BaseURL     string // roller's address as browsers see it, http or https
	Provisioner string
	Tasks       []RegisteredTask
}

// RegisteredTask is one action.
type RegisteredTask struct{ Name, Description string }

var provisionerForm = regexp.MustCompile(`\A[-_a-zA-Z0-9]{1,256}\z`)

// Validate checks both arguments as the old service did.
func (r Registration) Validate() error {
	u, err := url.Parse(r.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("BASE_URL must be roller's http or https address, without user, query and fragment")
	}
	if !provisionerForm.MatchString(r.Provisioner) {
		return errors.New("PROVISIONER_ID must be 1 to 256 letters, digits, - and _")
	}
	for _, hole := range []string{"workerId", "workerGroup"} {
		if strings.Contains(r.BaseURL, hole) || strings.Contains(r.Provisioner, hole) {
			return fmt.Errorf("neither argument may contain %s: Taskcluster would fill it in", hole)
		}
	}
	return nil
}

func (r Registration) prefix() string { return strings.TrimRight(r.BaseURL, "/") + "/api/v1/workers/" }

// actions are the buttons of a worker's page.
func (r Registration) actions() []tcqueue.Action {
	out := make([]tcqueue.Action, 0, len(r.Tasks))
	for _, t := range r.Tasks {
		title, _ := json.Marshal(t.Name) // a string always can be
		out = append(out, tcqueue.Action{
			Name: t.Name, Title: title, Context: "worker", Method: http.MethodPost, Description: t.Description,
			URL: r.prefix() + "<workerId>/group/<workerGroup>/jobs?task_name=" + url.QueryEscape(t.Name),
		})
	}
	return out
}

// registerFor is how long a provisioner that is not known yet is kept: the
// client library always sends an expiry.
const registerFor = 365 * 24 * time.Hour

// Register declares the actions, beside those of others that the provisioner
// has, and makes sure that they are there. Errors: ErrNotStored, ErrNoCall, or
// what the service refused.
func Register(ctx context.Context, cfg config.Taskcluster, r Registration) error {
	if err := r.Validate(); err != nil {
		return err
	}
	q := newQueue(ctx, cfg)
	before, err := q.GetProvisioner(r.Provisioner)
	if err := r.explain("getProvisioner", err); err != nil && !errors.Is(err, ErrNotStored) && !errors.Is(err, ErrNoCall) {
		return err
	}
	request := &tcqueue.ProvisionerRequest{Actions: r.actions(), Expires: tcclient.Time(time.Now().Add(registerFor))}
	if err == nil {
		request.Actions = append(r.others(before.Actions), request.Actions...)
		request.Description, request.Stability = before.Description, before.Stability
		if at := time.Time(before.Expires); at.After(time.Time(request.Expires)) {
			request.Expires = before.Expires
		}
	}
	if _, err = q.DeclareProvisioner(r.Provisioner, request); err != nil {
		return r.explain("declareProvisioner", err)
	}
	after, err := q.GetProvisioner(r.Provisioner)
	if err != nil {
		return r.explain("getProvisioner", err)
	}
	return r.stored(after.Actions)
}

// others are the actions that are not this roller's.
func (r Registration) others(all []tcqueue.Action) []tcqueue.Action {
	var out []tcqueue.Action
	for _, a := range all {
		if !strings.HasPrefix(a.URL, r.prefix()) {
			out = append(out, a)
		}
	}
	return out
}

func (r Registration) stored(all []tcqueue.Action) error {
	there := map[string]bool{}
	for _, a := range all {
		there[a.URL] = true
	}
	for _, a := range r.actions() {
		if !there[a.URL] {
			return ErrNotStored
		}
	}
	return nil
}

// explain says what the service's refusal means.
func (r Registration) explain(call string, err error) error {
	if err == nil {
		return nil
	}
	bad, ok := errors.AsType[httpbackoff.BadHttpResponseCode](cause(err))
	if !ok {
		return fmt.Errorf("%s: taskcluster gave no usable answer; check TASKCLUSTER_ROOT_URL: %w", call, lost(cause(err)))
	}
	switch bad.HttpResponseCode {
	case http.StatusNotFound:
		if saysUnknown(err) {
			return fmt.Errorf("%w (provisioner %s is not known to it, either)", ErrNotStored, r.Provisioner)
		}
		return ErrNoCall
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN are not accepted (401)", call)
	case http.StatusForbidden:
		return fmt.Errorf("%s: TASKCLUSTER_CLIENT_ID lacks a scope; needed are queue:get-provisioner:%[2]s and queue:declare-provisioner:%[2]s#actions, ...#expires, and for a provisioner that has them ...#description and ...#stability", call, r.Provisioner)
	}
	return fmt.Errorf("%s: taskcluster answered %d", call, bad.HttpResponseCode)
}

// saysUnknown reports whether the call is there, and what it was asked about is
// not: the service then says so in its own form.
func saysUnknown(err error) bool {
	e, ok := errors.AsType[*tcclient.APICallException](err)
	if !ok || e.CallSummary == nil {
		return false
	}
	var answer struct{ Code string }
	return json.Unmarshal([]byte(e.CallSummary.HTTPResponseBody), &answer) == nil && answer.Code == "ResourceNotFound"
}

// newQueue returns a client whose calls end in time.
func newQueue(ctx context.Context, cfg config.Taskcluster) *tcqueue.Queue {
	q := tcqueue.New(&tcclient.Credentials{ClientID: cfg.ClientID, AccessToken: cfg.AccessToken.Reveal()}, cfg.RootURL)
	q.Context = ctx
	q.HTTPClient, q.HTTPBackoffClient = inTime(cfg)
	return q
}

// inTime makes a client's calls end in time: without settings of its own it tries
// for 15 minutes. What is declared may be declared twice.
func inTime(cfg config.Taskcluster) (*http.Client, *httpbackoff.Client) {
	timeout := cfg.Timeout.D()
	settings := backoff.NewExponentialBackOff()
	settings.InitialInterval, settings.MaxInterval, settings.MaxElapsedTime = timeout/20, timeout/5, timeout*3/5
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true},
	}, &httpbackoff.Client{BackOffSettings: settings}
}

// statusOf returns the status of an answer that is an error; 0 if there was none.
func statusOf(err error) int {
	if bad, ok := errors.AsType[httpbackoff.BadHttpResponseCode](cause(err)); ok {
		return bad.HttpResponseCode
	}
	return 0
}
