package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/mozilla-platform-ops/roller/activities"
)

// clock is how details name a moment: the Web UI shows the date beside it.
const clock = "15:04:05 UTC"

// attempt is the rung being tried.
func (r *run) attempt() *Attempt { return &r.result.Attempts[len(r.result.Attempts)-1] }

// conclude ends the rung being tried.
func (r *run) conclude(ctx workflow.Context, o Outcome, why string) {
	at := r.attempt()
	at.Outcome, at.Why, at.EndedAt = o, why, workflow.Now(ctx)
	r.show(ctx, "")
}

// tell sets search attributes. Each call is one history event.
func (r *run) tell(ctx workflow.Context, updates ...temporal.SearchAttributeUpdate) error {
	return workflow.UpsertTypedSearchAttributes(ctx, updates...)
}

// show draws the details a person sees in the Web UI: the ladder so far, one
// line a rung, what happens now and what would follow. It costs no event.
func (r *run) show(ctx workflow.Context, now string) {
	workflow.SetCurrentDetails(ctx, r.result.Markdown(now))
}

// Markdown renders a result as the Web UI and `roller show` print it.
func (res Result) Markdown(now string) string {
	var b strings.Builder
	if res.Off {
		b.WriteString("**OFF: roller powered this machine off and has not seen it on again.**\n\n")
	}
	b.WriteString(fmt.Sprintf("**%s of %s/%s**\n\n", res.Task, res.WorkerGroup, res.WorkerID))
	for i, at := range res.Attempts {
		b.WriteString(fmt.Sprintf("%d. `%s` %s", i+1, at.Rung, at.Outcome))
		if at.Why != "" {
			b.WriteString(fmt.Sprintf(": %s", at.Why))
		}
		b.WriteString("\n")
	}
	if now != "" {
		b.WriteString(fmt.Sprintf("\nNow: %s\n", now))
	}
	if len(res.Next) > 0 {
		b.WriteString(fmt.Sprintf("\nNext: %s\n", strings.Join(res.Next, ", ")))
	}
	if res.Bug != nil {
		b.WriteString(fmt.Sprintf("\nBug: %s\n", res.Bug))
	}
	if res.Outcome != Running {
		b.WriteString(fmt.Sprintf("\nEnded: **%s** %s\n", res.Outcome, res.Why))
	}
	return b.String()
}

// String names the bug, or the run that files it.
func (b *Bug) String() string {
	if b.URL != "" {
		return b.URL
	}
	return fmt.Sprintf("pending in %s (run %s)", b.WorkflowID, b.RunID)
}

func names(rungs []activities.Rung) []string {
	var out []string
	for _, rung := range rungs {
		if rung.Skip == "" {
			out = append(out, rung.Name)
		}
	}
	return out
}

// join puts the parts that say something into one line.
func join(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return strings.Join(said, "; ")
}
