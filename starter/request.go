package starter

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// payloads is how the client, too, encodes what it sends.
var payloads = converter.GetDefaultDataConverter()

// request describes a start to Temporal. The SDK's own call cannot: it makes up
// the request ID by which a repeat is known. The workflow's ID decides what
// excludes what. There is no run timeout: it would end a run without running its
// code, and with it the promise to power on what was powered off.
func (s *Starter) request(r Request, name config.Name) (*workflowservice.StartWorkflowExecutionRequest, error) {
	unique := uuid.NewString()
	if len(r.Repeats) > 0 {
		unique = r.Repeats[0].Key
	}
	id, reuse := workflows.MachineID(name), enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	if config.IsRead(r.Task) {
		id, reuse = workflows.ReadID(r.Task, name, unique), enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	}
	input, err := payloads.ToPayloads(workflows.Job{
		WorkerID: name.WorkerID, WorkerGroup: name.WorkerGroup, ClientID: r.ClientID,
		ProvisionerID: r.ProvisionerID, WorkerType: r.WorkerType, HTTPOrigin: r.HTTPOrigin, Drain: r.Drain, Why: r.Why, NoReimage: r.NoReimage,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the job: %w", err)
	}
	summary, err := payloads.ToPayload(workflows.Summary(r.Task, name.String(), r.ClientID))
	if err != nil {
		return nil, fmt.Errorf("encode the summary: %w", err)
	}
	attributes, err := attributes(r, name)
	if err != nil {
		return nil, err
	}
	priority := int32(workflows.ClickPriority)
	if r.Bulk {
		priority = workflows.BulkPriority
	}
	return &workflowservice.StartWorkflowExecutionRequest{
		Namespace: s.namespace, WorkflowId: id, Priority: &commonpb.Priority{PriorityKey: priority}, WorkflowType: &commonpb.WorkflowType{Name: r.Task},
		TaskQueue: &taskqueuepb.TaskQueue{Name: workflows.TaskQueue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL},
		Input:     input, Identity: s.identity, RequestId: unique,
		WorkflowIdReusePolicy: reuse, WorkflowIdConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		SearchAttributes: attributes, UserMetadata: &sdkpb.UserMetadata{Summary: summary},
	}, nil
}

// attaching is a start that starts nothing: it leaves a key with the run that
// has the machine, and fails where none has it any more.
func attaching(start *workflowservice.StartWorkflowExecutionRequest, key string) *workflowservice.StartWorkflowExecutionRequest {
	out := proto.CloneOf(start)
	out.RequestId = key
	out.WorkflowIdConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	out.WorkflowIdReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	out.OnConflictOptions = &workflowpb.OnConflictOptions{AttachRequestId: true}
	return out
}

// attributes are the search attributes that a job begins with.
func attributes(r Request, name config.Name) (*commonpb.SearchAttributes, error) {
	values := map[temporal.SearchAttributeKey]any{
		workflows.AttrWorkerID: name.WorkerID, workflows.AttrWorkerGroup: name.WorkerGroup, workflows.AttrTask: r.Task,
	}
	if r.ClientID != "" {
		values[workflows.AttrClientID] = r.ClientID
	}
	var keys []string
	for _, repeat := range r.Repeats {
		keys = append(keys, repeat.Key)
	}
	if len(keys) > 0 && !r.bound(name) { // whoever looks for a bound one knows the job's ID: no index is needed
		values[workflows.AttrRequest] = keys
	}
	fields := map[string]*commonpb.Payload{}
	for key, value := range values {
		payload, err := payloads.ToPayload(value)
		if err != nil {
			return nil, fmt.Errorf("encode search attribute %s: %w", key.GetName(), err)
		}
		payload.Metadata["type"] = []byte(key.GetValueType().String())
		fields[key.GetName()] = payload
	}
	return &commonpb.SearchAttributes{IndexedFields: fields}, nil
}

// firstPause is before the first repeat of a start that Temporal could not take
// just then, as when it moves a shard; it doubles each time.
const firstPause = 50 * time.Millisecond

// send asks for a start until Temporal has answered. The request ID makes one
// start of all tries.
func (s *Starter) send(ctx context.Context, start *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	var err error
	if start.Header, err = traced(ctx); err != nil {
		return nil, err
	}
	for pause := firstPause; ; pause *= 2 {
		answer, err := s.client.WorkflowService().StartWorkflowExecution(ctx, start)
		if err == nil || !transient(err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}
