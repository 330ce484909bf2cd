package config

import (
	"fmt"
	"strings"
)

// Queue is the task queue of Taskcluster's from which a machine's worker takes its work.
type Queue struct {
	ProvisionerID string
	WorkerType    string
	Drain         bool // the worker is drained before its machine is taken down, unless the request says otherwise
}

// String names the task queue as Taskcluster does.
func (q Queue) String() string { return q.ProvisionerID + "/" + q.WorkerType }

// ParseQueue reads a task queue's ID.
func ParseQueue(id string) (Queue, error) {
	if !taskQueueForm.MatchString(id) {
		return Queue{}, fmt.Errorf("%q must be a provisioner ID, / and a worker type, like releng-hardware/gecko-t-linux", id)
	}
	provisioner, workerType, _ := strings.Cut(id, "/")
	return Queue{ProvisionerID: provisioner, WorkerType: workerType}, nil
}

func (r *reading) queue(e *entry, m *draft) { m.Queue = e.queue() }

// queue reads {"taskcluster": {"queue", "drain"}}; nil where it is missing.
func (e *entry) queue() *Queue {
	n := e.need("taskcluster")
	if n == nil {
		return nil
	}
	in := e.object(e.path, e.about+": taskcluster", n, "queue", "drain")
	q := Queue{}
	if id := in.text("queue"); id != "" {
		var err error
		if q, err = ParseQueue(id); err != nil {
			in.wrong(in.place("queue").line, "\"queue\" %s", err)
		}
	}
	q.Drain = in.flag("drain")
	return &q
}
