package config

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTaskclusterVariables(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ environ, message string }{
		"a queue without a worker type": {"TASKCLUSTER_TASK_QUEUE=proj-relops", "TASKCLUSTER_TASK_QUEUE=\"proj-relops\": must be a provisioner ID, / and a worker type, like proj-relops/roller"},
		"a worker type in capitals":     {"TASKCLUSTER_TASK_QUEUE=a/B", "TASKCLUSTER_TASK_QUEUE=\"a/B\": must be"},
		"a worker with a dot":           {"TASKCLUSTER_WORKER_ID=a.b", "TASKCLUSTER_WORKER_ID=\"a.b\": must be 1 to 38 letters"},
		"a group with a slash":          {"TASKCLUSTER_WORKER_GROUP=a/b", "TASKCLUSTER_WORKER_GROUP=\"a/b\": must be 1 to 38 letters"},
		"a short key":                   {"ROLLER_SEAL_KEY=" + base64.StdEncoding.EncodeToString([]byte("s3cret")), "ROLLER_SEAL_KEY: must be 32 bytes in base64, as `openssl rand -base64 32` prints them, or several such keys with commas between them (the value is not shown)"},
		"a key too many":                {"ROLLER_SEAL_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + ",", "ROLLER_SEAL_KEY: must be 32 bytes"},
		"a key that is no base64":       {"ROLLER_SEAL_KEY=%%%", "ROLLER_SEAL_KEY: must be 32 bytes"},
		"often":                         {"TASKCLUSTER_RECLAIM=0.1s", "TASKCLUSTER_RECLAIM=\"0.1s\": must be 1s or more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load([]string{test.environ})
			require.ErrorContains(t, err, test.message)
		})
	}
	c, err := Load([]string{"ROLLER_CONFIGURATION=Test"})
	require.NoError(t, err)
	err = c.ValidateTaskcluster()
	for _, name := range []string{"TASKCLUSTER_ROOT_URL", "TASKCLUSTER_CLIENT_ID", "TASKCLUSTER_ACCESS_TOKEN", "ROLLER_SEAL_KEY"} {
		require.ErrorContains(t, err, name+": must be set")
	}
}
