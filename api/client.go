package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Client asks the API as anybody else does: by signed requests.
type Client struct {
	url         string
	credentials tcclient.Credentials
	http        *http.Client
}

// Refusal is an answer other than what was asked for.
type Refusal struct {
	Status    int
	Code      string
	Message   string
	RequestID string
	After     time.Duration // when to ask again, where the API says so
}

// Error implements error.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s (%s, %d)", r.Message, r.Code, r.Status)
	if r.After > 0 {
		text += "; ask again in " + r.After.String()
	}
	if r.Status >= http.StatusInternalServerError && r.RequestID != "" {
		text += "; request " + r.RequestID
	}
	return text
}

// ErrNoAnswer is wrapped by every error that says that the API gave no answer, or
// none of its own. The request may have been carried out.
var ErrNoAnswer = errors.New("no answer from the API")

const (
	// clientTimeout is for one request, beside what it asks to wait for.
	clientTimeout = 30 * time.Second
	// mostPage bounds an answer, in bytes.
	mostPage = 8 << 20
)

// NewClient returns a client of the API at an address, with the environment's
// Taskcluster credentials.
func NewClient(address string, cfg *config.Config) (*Client, error) {
	if _, err := parsePublicURL(address); err != nil {
		return nil, fmt.Errorf("the API's address %w", err)
	}
	c := tcclient.Credentials{
		ClientID: cfg.Taskcluster.ClientID, AccessToken: cfg.Taskcluster.AccessToken.Reveal(), Certificate: cfg.Client.Certificate.Reveal(),
	}
	if c.ClientID == "" || c.AccessToken == "" {
		return nil, errors.New("TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN must be set: the API wants signed requests")
	}
	if _, err := c.Cert(); err != nil {
		return nil, errors.New("TASKCLUSTER_CERTIFICATE must be the JSON of temporary credentials (the value is not shown)")
	}
	return &Client{url: strings.TrimRight(address, "/"), credentials: c, http: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
		// A redirect's target was not signed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// startTries and startPause: how often a start is asked for that got no answer,
// or a 503, each time under the same Idempotency-Key.
const (
	startTries = 4
	startPause = 2 * time.Second
)

// Start starts or joins a job. Errors: *Refusal, or one that wraps ErrNoAnswer.
func (c *Client) Start(ctx context.Context, r starter.Request) (StartedJob, error) {
	query := url.Values{"task_name": {r.Task}}
	if r.Bulk {
		query.Set("priority", bulk)
	}
	if r.Drain != nil {
		query.Set("drain", strconv.FormatBool(*r.Drain))
	}
	if r.NoReimage {
		query.Set("reimage", "false")
	}
	for name, value := range map[string]string{"provisioner_id": r.ProvisionerID, "worker_type": r.WorkerType, "why": r.Why} {
		if value != "" {
			query.Set(name, value)
		}
	}
	key := uuid.NewString()
	for try := 1; ; try++ {
		var job StartedJob
		_, err := c.ask(ctx, http.MethodPost, jobsOf(config.Name{WorkerID: r.WorkerID, WorkerGroup: r.WorkerGroup})+"?"+query.Encode(),
			http.Header{keyHeader: {key}}, 0, &job)
		refused, ok := errors.AsType[*Refusal](err)
		again := ok && refused.Status == http.StatusServiceUnavailable || errors.Is(err, ErrNoAnswer)
		if !again || try == startTries || ctx.Err() != nil {
			return job, err
		}
		select {
		case <-ctx.Done():
			return job, err
		case <-time.After(startPause):
		}
	}
}

// Seen is a job as it was seen, and by which the API knows what is new to whom.
type Seen struct {
	JobDetail

	tag string
}

// Job returns a machine's job: at once where it was not seen before, else when it
// has changed, or the wait is over.
func (c *Client) Job(ctx context.Context, n config.Name, taskID string, before Seen, wait time.Duration) (Seen, error) {
	headers, path := http.Header{}, jobsOf(n)+"/"+url.PathEscape(taskID)
	if before.tag != "" {
		headers.Set("If-None-Match", before.tag)
		path += "?wait=" + strconv.Itoa(int(wait.Seconds()))
	}
	var seen Seen
	tag, err := c.ask(ctx, http.MethodGet, path, headers, wait, &seen.JobDetail)
	if errors.Is(err, errUnchanged) {
		return before, nil
	}
	seen.tag = tag
	return seen, err
}

// Jobs returns a machine's newest jobs, at most 100.
func (c *Client) Jobs(ctx context.Context, n config.Name, outcome workflows.Outcome, limit int) ([]JobView, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if outcome != "" {
		query.Set("outcome", string(outcome))
	}
	var page JobsPage
	_, err := c.ask(ctx, http.MethodGet, jobsOf(n)+"?"+query.Encode(), nil, 0, &page)
	return page.Jobs, err
}

// Cancel asks a job to end.
func (c *Client) Cancel(ctx context.Context, n config.Name, taskID string) (JobDetail, error) {
	var job JobDetail
	_, err := c.ask(ctx, http.MethodDelete, jobsOf(n)+"/"+url.PathEscape(taskID), nil, 0, &job)
	return job, err
}

// Workers returns the machines that the API knows, with their last jobs, or only those
// that are on loan.
func (c *Client) Workers(ctx context.Context, onLoan bool) ([]WorkerView, error) {
	var all []WorkerView
	query := url.Values{"limit": {strconv.Itoa(mostLimit)}}
	if onLoan {
		query.Set("on_loan", "true")
	}
	for {
		var page WorkersPage
		if _, err := c.ask(ctx, http.MethodGet, "/api/v1/workers?"+query.Encode(), nil, 0, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Workers...)
		if page.ContinuationToken == "" {
			return all, nil
		}
		query.Set(tokenName, page.ContinuationToken)
	}
}

func jobsOf(n config.Name) string {
	return "/api/v1/workers/" + url.PathEscape(n.WorkerID) + "/group/" + url.PathEscape(n.WorkerGroup) + "/jobs"
}

// errUnchanged is a 304.
var errUnchanged = errors.New("unchanged")

// ask signs and sends one request, reads its answer, and returns its ETag.
func (c *Client) ask(ctx context.Context, method, path string, headers http.Header, wait time.Duration, into any) (tag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout+wait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("ask the API: %w", err)
	}
	for name, values := range headers {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	if err := c.credentials.SignRequest(r); err != nil {
		return "", errors.New("sign the request: the Taskcluster credentials cannot be used") // err shows them
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return "", fmt.Errorf("%w at %s: %w", ErrNoAnswer, c.url, plainCause(err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostPage))
	if err != nil {
		return "", fmt.Errorf("%w at %s: %w", ErrNoAnswer, c.url, err)
	}
	if answer.StatusCode == http.StatusNotModified {
		return "", errUnchanged
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		return "", c.refused(answer, body)
	}
	if json.Unmarshal(body, into) != nil {
		return "", fmt.Errorf("%w at %s: it is no JSON (%s)", ErrNoAnswer, c.url, answer.Status)
	}
	return answer.Header.Get("ETag"), nil
}

// plainCause is an error less the method and address, which all of them have.
func plainCause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// refused reads an error of the API's; what another server on the way says is none.
func (c *Client) refused(answer *http.Response, body []byte) error {
	var said struct{ Code, Message string }
	if json.Unmarshal(body, &said) != nil || said.Code == "" || said.Message == "" {
		return fmt.Errorf("%w at %s, but of another server: %s", ErrNoAnswer, c.url, answer.Status)
	}
	r := &Refusal{Status: answer.StatusCode, Code: said.Code, Message: said.Message, RequestID: answer.Header.Get("X-Request-Id")}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.After = time.Duration(seconds) * time.Second
	}
	return r
}
