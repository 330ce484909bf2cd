package config

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"time"
)

// The forms of a task queue's ID and of a worker's names (services/queue,
// schemas/constants.yml).
var (
	taskQueueForm = regexp.MustCompile(`\A[a-zA-Z0-9-_]{1,38}/[a-z]([-a-z0-9]{0,36}[a-z0-9])?\z`)
	workerForm    = regexp.MustCompile(`\A[a-zA-Z0-9-_]{1,38}\z`)
)

func (e *environ) taskcluster(root string) Taskcluster {
	t := Taskcluster{
		RootURL:     e.url("TASKCLUSTER_ROOT_URL", root),
		ClientID:    e.text("TASKCLUSTER_CLIENT_ID", ""),
		AccessToken: e.secret("TASKCLUSTER_ACCESS_TOKEN"),
		Timeout:     e.duration("TASKCLUSTER_TIMEOUT", 5*time.Second, 100*time.Millisecond),
		TaskQueue:   e.text("TASKCLUSTER_TASK_QUEUE", "proj-relops/roller"),
		WorkerGroup: e.text("TASKCLUSTER_WORKER_GROUP", "roller"),
		WorkerID:    e.text("TASKCLUSTER_WORKER_ID", ""),
		Reclaim:     e.duration("TASKCLUSTER_RECLAIM", time.Minute, time.Second),
		SealKey:     e.secret("ROLLER_SEAL_KEY"),
	}
	if !taskQueueForm.MatchString(t.TaskQueue) {
		e.wrong("TASKCLUSTER_TASK_QUEUE", t.TaskQueue, "must be a provisioner ID, / and a worker type, like proj-relops/roller")
	}
	const form = "must be 1 to 38 letters, digits, - and _"
	if !workerForm.MatchString(t.WorkerGroup) {
		e.wrong("TASKCLUSTER_WORKER_GROUP", t.WorkerGroup, form)
	}
	if t.WorkerID != "" && !workerForm.MatchString(t.WorkerID) {
		e.wrong("TASKCLUSTER_WORKER_ID", t.WorkerID, form)
	}
	if _, err := t.SealKeys(); err != nil && !t.SealKey.IsZero() {
		e.hidden("ROLLER_SEAL_KEY", err.Error())
	}
	return t
}

// sealKeyBytes is the length of a secretbox's key.
const sealKeyBytes = 32

// SealKeys decodes SealKey: there is one at least. The first seals, all open.
func (t Taskcluster) SealKeys() ([]*[sealKeyBytes]byte, error) {
	var keys []*[sealKeyBytes]byte
	for text := range strings.SplitSeq(t.SealKey.Reveal(), ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != sealKeyBytes {
			return nil, errors.New("must be 32 bytes in base64, as `openssl rand -base64 32` prints them, or several such keys with commas between them (the value is not shown)")
		}
		keys = append(keys, (*[sealKeyBytes]byte)(key))
	}
	return keys, nil
}

// ValidateTaskcluster checks what only `roller taskcluster` needs, and names every
// mistake at once.
func (c *Config) ValidateTaskcluster() error {
	var mistakes []error
	for _, v := range []variable{
		{"TASKCLUSTER_ROOT_URL", c.Taskcluster.RootURL != ""},
		{"TASKCLUSTER_CLIENT_ID", c.Taskcluster.ClientID != ""},
		{"TASKCLUSTER_ACCESS_TOKEN", !c.Taskcluster.AccessToken.IsZero()},
		{"ROLLER_SEAL_KEY", !c.Taskcluster.SealKey.IsZero()},
	} {
		if !v.set {
			mistakes = append(mistakes, errors.New(v.name+": must be set: roller claims tasks by it"))
		}
	}
	return errors.Join(mistakes...)
}
