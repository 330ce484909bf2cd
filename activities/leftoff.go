package activities

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/mozilla-platform-ops/roller/config"
)

// OffAttribute is the search attribute of a run that has powered a machine off
// and not read it as on again; its value is the rung that did so.
const OffAttribute = "RollerOff"

// LeftOff is a closed run that left a machine off.
type LeftOff struct {
	Machine    config.Name `json:"machine"`
	Rung       string      `json:"rung"`
	WorkflowID string      `json:"workflow_id"`
	RunID      string      `json:"run_id"`
	ClosedAt   time.Time   `json:"closed_at,omitzero"`
	// Told says that a bug was told that the machine is off still.
	Told bool `json:"told,omitempty"`
}

// RecalledOff is the command by which a closed run powered a machine off, or
// power-cycled it for an installation.
type RecalledOff struct {
	Off    Command `json:"off"`
	Timing Timing  `json:"timing"`         // of this worker: the run's own times are over
	FQDN   string  `json:"fqdn,omitempty"` // "" of a machine that has left the inventory
	Site   string  `json:"site,omitempty"` // as Plan has them
	// OwnWorkers says that only the site's own workers reach the machine.
	OwnWorkers bool `json:"own_workers,omitempty"`
	// Bugs says that there may be a bug which says that the machine is off.
	Bugs bool `json:"bugs,omitempty"`
	// Lost says that the run's history is gone, so that the device is the one
	// that the inventory names now.
	Lost bool `json:"lost,omitempty"`
}

// Runs lists, looks at and reads runs; Temporal's client does it.
type Runs interface {
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	GetWorkflowHistory(ctx context.Context, workflowID, runID string, isLongPoll bool, filterType enumspb.HistoryEventFilterType) client.HistoryEventIterator
}

// leftOffPage is how many runs one list call asks for. A fleet has a handful
// at most; the sweep reads all pages all the same.
const leftOffPage = 100

// FindLeftOff lists the closed runs that left a machine off: terminated, reset
// or ended after ON_LIMIT.
func (a *Activities) FindLeftOff(ctx context.Context) ([]LeftOff, error) {
	var found []LeftOff
	var page []byte
	for {
		answer, err := a.Runs.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:    OffAttribute + ` IS NOT NULL AND ExecutionStatus != "Running"`,
			PageSize: leftOffPage, NextPageToken: page,
		})
		if err != nil {
			return nil, fail(notSent("list the runs that left a machine off: %w", err))
		}
		for _, e := range answer.GetExecutions() {
			fields := e.GetSearchAttributes().GetIndexedFields()
			found = append(found, LeftOff{
				Machine:    config.Name{WorkerID: keyword(fields["RollerWorkerId"]), WorkerGroup: keyword(fields["RollerWorkerGroup"])},
				Rung:       keyword(fields[OffAttribute]),
				WorkflowID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(),
				ClosedAt: e.GetCloseTime().AsTime(),
			})
		}
		if page = answer.GetNextPageToken(); len(page) == 0 {
			return found, nil
		}
	}
}

// RecallOff reads, in the history of a closed run, the last Off (or Netboot) that
// it sent: on that device, and on no other, the machine is powered on. Where the history is
// gone it is the device that the inventory names for the rung now. Errors:
// UnknownMachine and NoRung where neither is known; NotSent where Temporal does
// not answer.
func (a *Activities) RecallOff(ctx context.Context, left LeftOff) (RecalledOff, error) {
	out := RecalledOff{Timing: timing(a.Config)}
	var err error
	if out.Off, err = a.recorded(ctx, left); err != nil {
		return out, fail(err)
	}
	recorded := out.Off.mayDarken()
	name := left.Machine
	if recorded {
		name = out.Off.Machine
	}
	out.Site, out.OwnWorkers = siteOf(a.Config, name)
	m, err := a.Inventory().Resolve(name.WorkerID, name.WorkerGroup)
	if err == nil {
		out.FQDN, out.Bugs = m.FQDN, missing(a.Config, m, "file_bugzilla_bug") == ""
	}
	if recorded {
		return out, nil
	}
	out.Lost = true
	if err != nil {
		return out, fail(meaning(UnknownMachine, "the history of run %s is gone, and with it the device: %w", left.RunID, err))
	}
	out.Off = Command{Machine: m.Name, Action: Off, Target: TargetOf(m, left.Rung)}
	if left.Rung == "reimage" {
		out.Off.Target = netbootTarget(a.Config.Devices, m)
	}
	if out.Off.Target.IsZero() {
		return out, fail(meaning(NoRung, "the history of run %s is gone, and the inventory has no device of %s for %s", left.RunID, left.Rung, m.FQDN))
	}
	return out, nil
}

// mayDarken reports whether a machine can be without power after this command
// until roller gives it back.
func (c Command) mayDarken() bool { return c.Action == Off || c.Action == Netboot }

// recorded returns the last Off in a run's history, zero where there is none or
// the history is gone.
func (a *Activities) recorded(ctx context.Context, left LeftOff) (Command, error) {
	var last Command
	events := a.Runs.GetWorkflowHistory(ctx, left.WorkflowID, left.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
			return Command{}, nil
		}
		if _, bad := errors.AsType[*serviceerror.InvalidArgument](err); bad { // no run's ID
			return Command{}, nil
		}
		if err != nil {
			return Command{}, notSent("read the history of run %s: %w", left.RunID, err)
		}
		if c := scheduled(event); c.mayDarken() && !c.Target.IsZero() {
			last = c
		}
	}
	return last, nil
}

// scheduled is the command that an event schedules; zero if it is none.
func scheduled(event *historypb.HistoryEvent) Command {
	input := event.GetActivityTaskScheduledEventAttributes().GetInput()
	var c Command
	if input == nil || converter.GetDefaultDataConverter().FromPayloads(input, &c) != nil {
		return Command{}
	}
	return c
}

// keyword decodes a search attribute of type Keyword; "" if it is none.
func keyword(p *common.Payload) string {
	var s string
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &s) != nil {
		return ""
	}
	return s
}
