package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v3"
	"github.com/taskcluster/httpbackoff/v3"
	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcqueue"

	"github.com/mozilla-platform-ops/roller/config"
)

// claimPoll is how long the queue answers nothing to claimWork when it has no
// work (services/queue: 20 s), with room for a slow answer.
const claimPoll = 40 * time.Second

// The artifacts of a run. A link may be made before what it points to (createArtifact).
const (
	backingLog = "public/logs/live_backing.log"
	liveLog    = "public/logs/live.log"
	bugLink    = "public/bug"
	logType    = "text/plain; charset=utf-8"
)

// queue is the queue service as one client sees it, for one call each.
type queue struct {
	*tcqueue.Queue
	http *http.Client
}

// newQueue returns a client that asks once.
func newQueue(ctx context.Context, cfg config.Taskcluster, who *tcclient.Credentials, timeout time.Duration) *queue {
	q := tcqueue.New(who, cfg.RootURL)
	return &queue{q, askOnce(ctx, (*tcclient.Client)(q), timeout)}
}

// askOnce makes a client ask once: whoever calls tries again. The library's own
// tries would go on for 15 minutes.
func askOnce(ctx context.Context, c *tcclient.Client, timeout time.Duration) *http.Client {
	once := backoff.NewExponentialBackOff()
	once.InitialInterval, once.MaxElapsedTime = time.Millisecond, time.Nanosecond
	client := &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true},
	}
	c.Context, c.HTTPClient, c.HTTPBackoffClient = ctx, client, &httpbackoff.Client{BackOffSettings: once}
	return client
}

// asTask is the queue as a run's own credentials open it.
func (a *Taskcluster) asTask(ctx context.Context, c Claim, box Sealed) (*queue, error) {
	who, err := unseal(a.Config.Taskcluster, c.Run(), box)
	if err != nil {
		return nil, err
	}
	return newQueue(ctx, a.Config.Taskcluster, who, a.Config.Taskcluster.Timeout.D()), nil
}

// asRoller is the queue as roller's own client sees it.
func asRoller(ctx context.Context, cfg config.Taskcluster, timeout time.Duration) *queue {
	return newQueue(ctx, cfg, &tcclient.Credentials{ClientID: cfg.ClientID, AccessToken: cfg.AccessToken.Reveal()}, timeout)
}

// answered returns the status of an answer that is an error; 0 if there was none.
func answered(err error) int {
	e, ok := errors.AsType[*tcclient.APICallException](err)
	if !ok {
		return 0
	}
	bad, ok := errors.AsType[httpbackoff.BadHttpResponseCode](e.RootCause)
	if !ok {
		return 0
	}
	return bad.HttpResponseCode
}

// settled reports whether an error is an answer that the queue will give again.
func settled(err error) bool {
	status := answered(err)
	return status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
}

// plainly says what a call's error was without what the library hangs on it: the
// answer's body, which may repeat what was asked, and signed URLs.
func plainly(call string, err error) error {
	if status := answered(err); status != 0 {
		return notSent("%s: taskcluster answered %d", call, status)
	}
	if e, ok := errors.AsType[*tcclient.APICallException](err); ok {
		err = e.RootCause
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return notSent("%s: no answer from taskcluster: %w", call, err)
}

// artifact makes an artifact, or finds it made: what is asked is the same each time.
func (q *queue) artifact(c Claim, name string, request any, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	payload := tcqueue.PostArtifactRequest(text)
	got, err := q.CreateArtifact(c.TaskID, c.run(), name, &payload)
	if err != nil {
		return err
	}
	return json.Unmarshal(*got, answer)
}

// putLog puts the log as it is now in the place of what was there: an s3 artifact
// may be put again for as long as its run runs.
func (q *queue) putLog(ctx context.Context, c Claim, text string) error {
	var link tcqueue.LinkArtifactResponse
	err := q.artifact(c, liveLog, tcqueue.LinkArtifactRequest{
		StorageType: "link", Expires: tcclient.Time(c.Expires), ContentType: logType, Artifact: backingLog,
	}, &link)
	if err != nil {
		return err
	}
	var s3 tcqueue.S3ArtifactResponse
	err = q.artifact(c, backingLog, tcqueue.S3ArtifactRequest{StorageType: "s3", Expires: tcclient.Time(c.Expires), ContentType: logType}, &s3)
	if err != nil {
		return err
	}
	put, err := http.NewRequestWithContext(ctx, http.MethodPut, s3.PutURL, strings.NewReader(text))
	if err != nil {
		return errors.New("the queue's putUrl is not a URL")
	}
	put.Header.Set("Content-Type", s3.ContentType)
	done, err := q.http.Do(put)
	if err != nil {
		return err
	}
	if err := done.Body.Close(); err != nil {
		return err
	}
	if done.StatusCode != http.StatusOK {
		return fmt.Errorf("the bucket answered %d", done.StatusCode)
	}
	return nil
}

// putBug makes a link to the bug, where people look for what a run left.
func (q *queue) putBug(c Claim, bug string) error {
	var answer tcqueue.RedirectArtifactResponse
	return q.artifact(c, bugLink, tcqueue.RedirectArtifactRequest{
		StorageType: "reference", Expires: tcclient.Time(c.Expires), ContentType: "text/html", URL: bug,
	}, &answer)
}
