package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"

	namespacepb "go.temporal.io/api/namespace/v1"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// Without a worker a job's attempts are read out of its history; that of a job
// that was terminated as well.
func TestShowWithoutAWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"REBOOT_METHODS": "ssh_reboot,snmp_rebootdelay,file_bugzilla_bug", "SNMP_REBOOT_DELAY": "60s", "HEARTBEAT_TIMEOUT": soon},
		lab.Spec{WorkerID: "shown", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}})
	m := s.lab.Machine("shown")
	job := s.job(t, "reboot", m)
	waits := func(r workflows.Result) bool {
		return r.Off && len(r.Attempts) == 2 && r.Attempts[1].Sent != "" && r.Now != ""
	}
	s.until(t, job, "it is off and waits", waits)
	s.Workers[0].Kill()
	v, err := s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	require.False(t, v.Live)
	require.NotNil(t, v.Result)
	require.True(t, waits(*v.Result), "%s", pretty(v.Result))
	require.Equal(t, workflows.NoEffect, v.Result.Attempts[0].Outcome)
	require.Equal(t, "reboot", v.Result.Attempts[0].Sent)
	out, status := s.roller(t, "show", job.WorkflowID)
	require.Zero(t, status, out)
	require.Contains(t, out, "live: false")
	require.Contains(t, out, "1. `ssh_reboot` no_effect")
	require.Contains(t, out, "**OFF:")

	require.NoError(t, s.client.TerminateWorkflow(t.Context(), job.WorkflowID, job.TaskID, "by hand"))
	v, err = s.door.Show(t.Context(), job.WorkflowID, job.TaskID)
	require.NoError(t, err)
	require.Equal(t, workflows.Failed, v.Result.Outcome)
	require.Len(t, v.Result.Attempts, 2)
	require.Contains(t, v.Result.Why, "it was terminated")

	_, err = s.StartWorker()
	require.NoError(t, err)
	s.sweep(t)
	s.saw(t, "the sweep gives the power back", func() bool { return m.State().Power })
	_, _ = s.end(t, starter.Job{WorkflowID: workflows.MachineID(name(m))})
}

// A namespace that was there before roller keeps closed jobs for Retention at
// least; one that keeps them longer is left alone.
func TestSetupRaisesTheRetention(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, lab.Spec{WorkerID: "any", WorkerGroup: "mdc1"})
	retention := func() time.Duration {
		answer, err := s.client.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
		require.NoError(t, err)
		return answer.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration()
	}
	require.GreaterOrEqual(t, retention(), starter.Retention, "the dev server's own namespace keeps them for a day")
	longer := 2 * starter.Retention
	for before, after := range map[time.Duration]time.Duration{24 * time.Hour: starter.Retention, longer: longer} {
		_, err := s.client.WorkflowService().UpdateNamespace(t.Context(), &workflowservice.UpdateNamespaceRequest{
			Namespace: "default", Config: &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(before)},
		})
		require.NoError(t, err)
		require.NoError(t, s.Setup(t.Context()))
		require.Equal(t, after, retention())
	}
}
