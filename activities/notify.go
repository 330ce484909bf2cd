package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tcnotify"

	"github.com/mozilla-platform-ops/roller/config"
)

// NoticeKind is a way in which people are told.
type NoticeKind string

// The kinds of notices. All but the last go by Taskcluster's notify service.
const (
	NoticeEmail     NoticeKind = "email"     // to NOTIFY_EMAIL
	NoticeRequester NoticeKind = "requester" // by email, to whoever asked
	NoticeMatrix    NoticeKind = "matrix"
	NoticeSlack     NoticeKind = "slack"
	NoticeWebhook   NoticeKind = "webhook"
)

// The events that people are told of.
const (
	JobBegan = "start"
	JobEnded = "end"
)

// Notice is what people are told of one job.
type Notice struct {
	Kind        NoticeKind `json:"kind,omitempty"`
	Event       string     `json:"event"`
	At          time.Time  `json:"at"`
	Task        string     `json:"task"`
	WorkerID    string     `json:"worker_id"`
	WorkerGroup string     `json:"worker_group"`
	FQDN        string     `json:"fqdn,omitempty"`
	ClientID    string     `json:"client_id,omitempty"`
	WorkflowID  string     `json:"workflow_id"`
	TaskID      string     `json:"task_id"`
	Outcome     string     `json:"outcome,omitempty"`
	Off         bool       `json:"off,omitempty"` // roller powered it off and has not seen it on again
	Bug         string     `json:"bug,omitempty"` // its URL
	Text        string     `json:"text,omitempty"`
}

// noticeKinds are those that are configured.
func noticeKinds(n config.Notices) []NoticeKind {
	var kinds []NoticeKind
	for _, k := range []struct {
		kind NoticeKind
		set  bool
	}{
		{NoticeEmail, len(n.Emails) > 0},
		{NoticeRequester, len(n.Requesters) > 0},
		{NoticeMatrix, n.MatrixRoom != ""},
		{NoticeSlack, n.SlackChan != ""},
		{NoticeWebhook, n.WebhookURL != ""},
	} {
		if k.set {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

// darkLine is the first line of whatever says that a machine is dark.
const darkLine = "OFF: roller powered this machine off and has not seen it on again."

// subject is the notice in one line, the machine first, as people search for it.
func (n Notice) subject() string {
	text := fmt.Sprintf("%s %s[%s] %s", n.WorkerGroup, n.WorkerID, n.FQDN, n.Task)
	switch {
	case n.Off:
		return "OFF: " + text
	case n.Event == JobBegan:
		return text + " requested"
	default:
		return text + ": " + n.Outcome
	}
}

// body is the notice in Markdown.
func (n Notice) body() string {
	var b strings.Builder
	if n.Off && !strings.Contains(n.Text, darkLine) {
		b.WriteString("**" + darkLine + "**\n\n")
	}
	if n.Text != "" {
		b.WriteString(n.Text + "\n")
	}
	if n.Event == JobBegan {
		fmt.Fprintf(&b, "%s of %s/%s begins.\n", n.Task, n.WorkerGroup, n.WorkerID)
	}
	if n.ClientID != "" {
		fmt.Fprintf(&b, "Requested by %s.\n", n.ClientID)
	}
	fmt.Fprintf(&b, "Job %s, run %s.\n", n.WorkflowID, n.TaskID)
	return b.String()
}

// Longest texts (services/notify, schemas/v1/email-request.yml: 255 and 102400).
const (
	longestSubject = 250
	longestBody    = 50_000
)

func clipped(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// email is the notify service's request. The library's own has a link that cannot
// be left out.
type email struct {
	Address string     `json:"address"`
	Subject string     `json:"subject"`
	Content string     `json:"content"`
	Link    *emailLink `json:"link,omitempty"`
}

type emailLink struct {
	Text string `json:"text"`
	Href string `json:"href"`
}

// TaskclusterNotify tells people by Taskcluster's notify service. One that is tried
// again may be told twice. Errors: NotSent; Refused where the service will refuse
// the same again, which keeps back none of the other addresses.
func (a *Activities) TaskclusterNotify(ctx context.Context, n Notice) error {
	cfg := a.Config.Taskcluster
	client := tcnotify.New(&tcclient.Credentials{ClientID: cfg.ClientID, AccessToken: cfg.AccessToken.Reveal()}, cfg.RootURL)
	askOnce(ctx, (*tcclient.Client)(client), cfg.Timeout.D())
	var refusal error
	for _, request := range a.notifications(n) {
		_, _, err := (*tcclient.Client)(client).APICall(request.payload, http.MethodPost, request.route, nil, nil)
		if settled(err) {
			refusal = refused("notify: taskcluster answered %d to %s; does %s have the scope notify:%s?", answered(err), request.route, cfg.ClientID, request.scope)
			continue
		}
		if err != nil {
			return fail(endedOr(ctx, plainly("notify"+request.route, err)))
		}
	}
	return fail(refusal)
}

type notification struct {
	route, scope string
	payload      any
}

// notifications are the requests that a notice needs: none where whoever asked has
// no address.
func (a *Activities) notifications(n Notice) []notification {
	cfg := a.Config.Notices
	subject, body := clipped(n.subject(), longestSubject), clipped(n.body(), longestBody)
	mail := func(address string) notification {
		e := &email{Address: address, Subject: subject, Content: body}
		if n.Bug != "" {
			e.Link = &emailLink{Text: "The bug", Href: n.Bug}
		}
		return notification{"/email", "email:" + address, e}
	}
	switch n.Kind {
	case NoticeEmail:
		var all []notification
		for _, address := range cfg.Emails {
			all = append(all, mail(address))
		}
		return all
	case NoticeRequester:
		if address := cfg.AddressOf(n.ClientID); address != "" {
			return []notification{mail(address)}
		}
	case NoticeMatrix:
		return []notification{{"/matrix", "matrix-room:" + cfg.MatrixRoom, map[string]any{"roomId": cfg.MatrixRoom, "body": subject + "\n" + body}}}
	case NoticeSlack:
		return []notification{{"/slack", "slack-channel:" + cfg.SlackChan, map[string]any{"channelId": cfg.SlackChan, "text": subject + "\n" + body}}}
	case NoticeWebhook:
	}
	return nil
}

// RunRef names a run.
type RunRef struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

// Closed is how a run ended: Temporal's word for it, and the record that it left.
type Closed struct {
	How    string          `json:"how"`
	Record json.RawMessage `json:"record,omitempty"`
}

// AwaitClosed returns when a run has closed, by whatever way. Errors: Handover when
// the worker stops, NotSent while Temporal does not answer, BadInput when there is
// no such run any more.
func (a *Activities) AwaitClosed(ctx context.Context, run RunRef) (Closed, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		closed Closed
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		closed, err := a.closed(reading, run)
		done <- answer{closed, err}
	}()
	beats := time.NewTicker(heartbeatEvery(ctx))
	defer beats.Stop()
	for {
		select {
		case out := <-done:
			return out.closed, fail(endedOr(ctx, out.err))
		case <-stopping(ctx):
			return Closed{}, fail(meaning(Handover, "this worker stops: another one must go on waiting for run %s", run.RunID))
		case <-beats.C:
			beat(ctx, run)
		}
	}
}
