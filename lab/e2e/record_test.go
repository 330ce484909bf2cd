package e2e

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// recordVariable names a folder that the histories of all runs go to: what
// every outcome looked like on roller's real processes. `make history` sets it.
const recordVariable = "ROLLER_RECORD_HISTORIES"

// record stores the history of each run whose course is not there yet.
func (s *site) record(t *testing.T) {
	dir := os.Getenv(recordVariable)
	if dir == "" || s.client == nil || t.Failed() {
		return
	}
	ctx := context.WithoutCancel(t.Context()) // a clean-up runs after the test's own has ended
	require.NoError(t, os.MkdirAll(dir, 0o750))
	var page []byte
	for {
		list, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			PageSize: 100, NextPageToken: page, // running ones, too: a release may find a run in any state
		})
		require.NoError(t, err)
		for _, e := range list.GetExecutions() {
			id := e.GetExecution()
			now, err := s.client.DescribeWorkflowExecution(ctx, id.GetWorkflowId(), id.GetRunId())
			require.NoError(t, err) // a list is a moment late with what a run has said of itself
			history := &historypb.History{}
			iter := s.client.GetWorkflowHistory(ctx, id.GetWorkflowId(), id.GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
			for iter.HasNext() {
				event, err := iter.Next()
				require.NoError(t, err)
				forget(event.ProtoReflect())
				history.Events = append(history.Events, event)
			}
			if !slices.ContainsFunc(history.GetEvents(), ranCode) { // there is nothing to replay
				continue
			}
			name := fmt.Sprintf("%s-%s-%s.json.gz", e.GetType().GetName(), ending(now.GetWorkflowExecutionInfo()), course(history))
			require.NoError(t, store(filepath.Join(dir, name), history))
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return
		}
	}
}

func ranCode(e *historypb.HistoryEvent) bool {
	return e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
}

// forget takes out what is about the computer that recorded a run and means
// nothing to a replay: process and host names, and stack traces.
func forget(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "identity" || f.Name() == "stack_trace":
			m.Clear(f)
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				forget(v.List().Get(i).Message())
			}
		default:
			forget(v.Message())
		}
		return true
	})
}

// ending is a run's outcome, or Temporal's word where it has none.
func ending(e *workflowpb.WorkflowExecutionInfo) string {
	var outcome string
	if p := e.GetSearchAttributes().GetIndexedFields()[workflows.AttrOutcome.GetName()]; p != nil {
		_ = converter.GetDefaultDataConverter().FromPayload(p, &outcome)
	}
	return cmp.Or(outcome, strings.ToLower(e.GetStatus().String()))
}

// course is short for what a run did in which order: two runs with the same one
// take the same way through the workflow's code.
func course(h *historypb.History) string {
	sum := sha256.New()
	for _, e := range h.GetEvents() {
		switch e.GetEventType() { //nolint:exhaustive // all others count by their types
		case enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED,
			enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			continue
		}
		fmt.Fprintln(sum, e.GetEventType(), e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName(),
			e.GetStartChildWorkflowExecutionInitiatedEventAttributes().GetWorkflowType().GetName())
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:3])
}

// store writes a history that is not there yet: a stored one is never replaced.
func store(path string, h *historypb.History) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := protojson.Marshal(h)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	z := gzip.NewWriter(f)
	_, err = z.Write(text)
	return errors.Join(err, z.Close(), f.Close())
}
