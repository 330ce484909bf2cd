package api

import (
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// JobView is a job as a list shows it. Times are absent where there is none yet.
type JobView struct {
	TaskID      string            `json:"task_id"`
	TaskName    string            `json:"task_name"`
	WorkerID    string            `json:"worker_id"`
	WorkerGroup string            `json:"worker_group"`
	ClientID    string            `json:"client_id"`
	State       string            `json:"state"`
	Outcome     workflows.Outcome `json:"outcome"`
	Rung        string            `json:"rung,omitempty"`
	Off         string            `json:"off,omitempty"`
	StartedAt   time.Time         `json:"started_at"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
	WorkflowID  string            `json:"workflow_id"`
}

// JobDetail is one job with its ladder.
type JobDetail struct {
	JobView

	Live       bool                `json:"live"`
	Cancelling bool                `json:"cancelling"`
	Why        string              `json:"why,omitempty"`
	Now        string              `json:"now,omitempty"`
	Next       []string            `json:"next,omitempty"`
	Attempts   []workflows.Attempt `json:"attempts"`
	Bug        *workflows.Bug      `json:"bug,omitempty"`
	Text       string              `json:"text,omitempty"`
	// OnLoan is the loan of the machine, which somebody had when this job began.
	OnLoan *workflows.LoanReading `json:"on_loan,omitempty"`
}

// ViewOf is a job as the API shows it in a list.
func ViewOf(v starter.View) JobView {
	group, id, _ := strings.Cut(v.Machine, "/")
	out := JobView{
		TaskID: v.TaskID, TaskName: v.Task, WorkerID: id, WorkerGroup: group, ClientID: v.ClientID,
		State: strings.ToLower(v.Status), Outcome: workflows.Outcome(v.Outcome), Rung: v.Rung, Off: v.Off,
		StartedAt: v.StartedAt.UTC(), EndedAt: v.ClosedAt.UTC(), WorkflowID: v.WorkflowID,
	}
	if out.Outcome == "" && v.Status == running {
		out.Outcome = workflows.Running
	}
	return out
}

// DetailOf is a job as the API shows it by itself.
func DetailOf(v starter.View) JobDetail {
	out := JobDetail{JobView: ViewOf(v), Live: v.Live, Cancelling: v.Cancelling && v.Status == running, Attempts: []workflows.Attempt{}}
	r := v.Result
	if r == nil {
		return out
	}
	out.Outcome, out.Why, out.Now, out.Next, out.Bug, out.Text = r.Outcome, r.Why, r.Now, r.Next, r.Bug, r.Text
	out.OnLoan = r.Loan
	out.Attempts = append(out.Attempts, r.Attempts...)
	return out
}
