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
	r.result.Now = now
	workflow.SetCurrentDetails(ctx, r.result.Markdown())
}

// Markdown renders a result as the Web UI and `roller show` print it.
// What happens now stands first: the Web UI shows only the first few lines.
func (res Result) Markdown() string {
	var b strings.Builder
	if res.Off {
		b.WriteString("**OFF: roller powered this machine off and has not seen it on again.**\n\n")
	}
	b.WriteString(fmt.Sprintf("**%s of %s/%s**\n\n", res.Task, res.WorkerGroup, res.WorkerID))
	if res.Outcome != Running {
		b.WriteString(fmt.Sprintf("Ended: **%s** %s\n\n", res.Outcome, res.Why))
	}
	if res.Site != "" && res.Outcome == Running {
		b.WriteString(fmt.Sprintf("Site: %s, by its own workers (task queue `%s`)\n\n", res.Site, SiteQueue(res.Site)))
	}
	if res.Loan != nil {
		b.WriteString(fmt.Sprintf("**On loan** %s\n\n", res.Loan))
	}
	if res.Bug != nil {
		b.WriteString(fmt.Sprintf("Bug: %s\n\n", res.Bug))
	}
	if res.Now != "" {
		b.WriteString(fmt.Sprintf("Now: %s\n\n", res.Now))
	}
	if len(res.Next) > 0 {
		b.WriteString(fmt.Sprintf("Next: %s\n\n", strings.Join(res.Next, ", ")))
	}
	for i, at := range res.Attempts {
		b.WriteString(fmt.Sprintf("%d. `%s` %s", i+1, at.Rung, at.Outcome))
		if at.Sent != "" && at.Outcome != Back {
			b.WriteString(fmt.Sprintf(" (sent `%s` at %s)", at.Sent, at.SentAt.UTC().Format(clock)))
		}
		if at.Why != "" {
			b.WriteString(fmt.Sprintf(": %s", at.Why))
		}
		b.WriteString("\n")
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
