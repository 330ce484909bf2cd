package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/mozilla-platform-ops/roller/lab"
	"github.com/mozilla-platform-ops/roller/lab/stack"
	"github.com/mozilla-platform-ops/roller/starter"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// story is one machine of the demo and how its ladder must end.
type story struct {
	lab.Spec
	What    string
	Outcome workflows.Outcome
	Rung    string // the last one tried
}

var stories = []story{
	{
		lab.Spec{WorkerID: "ms1-01", WorkerGroup: "mdc1", SSHBootID: true},
		"comes back after ssh", workflows.Back, "ssh_reboot",
	},
	{
		lab.Spec{WorkerID: "ms1-02", WorkerGroup: "mdc1", Faults: lab.Faults{IgnoreSSH: true}},
		"ignores ssh; IPMI helps", workflows.Back, "ipmi_reset",
	},
	{
		lab.Spec{WorkerID: "mini-03", WorkerGroup: "mdc1", Faults: lab.Faults{Hung: true, DeadBMC: true}},
		"hung, dead BMC; its outlet helps", workflows.Back, "snmp_rebootdelay",
	},
	{
		lab.Spec{WorkerID: "mini-04", WorkerGroup: "mdc1", Faults: lab.Faults{NeverReturns: true}},
		"never comes back; gets a bug", workflows.BugFiled, "snmp_rebootdelay",
	},
}

// timing makes the ladders short enough to be watched. An operator's are in
// .env-dist.
var timing = map[string]string{
	"TASK_NAMES":     "reboot,ping,ipmi_status,ipmi_list,ssh_reboot,ipmi_reset,ipmi_cycle,ipmi_on,ipmi_off,snmp_reboot,snmp_rebootdelay",
	"REBOOT_METHODS": "ssh_reboot,ipmi_reset,snmp_rebootdelay,file_bugzilla_bug",
	"DOWN_TIMEOUT":   "8s", "UP_TIMEOUT": "12s", "RUNG_RETRY": "2s", "SNMP_REBOOT_DELAY": "4s",
	"PROBE_INTERVAL": "0.5s", "SSH_TIMEOUT": "3s", "IPMI_TIMEOUT": "3s", "IPMI_SESSION_TIMEOUT": "6s", "SNMP_TIMEOUT": "3s", "RETRY_INTERVAL": "2s",
}

type demo struct {
	*stack.Stack
	fleet   *stack.Process
	env     map[string]string
	client  client.Client
	starter *starter.Starter
	jobs    []starter.Job
}

// start starts every process, saying so.
func start(ctx context.Context, bin, dir string) (d *demo, err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d = &demo{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	fmt.Println("==> starting the lab: four machines with SSH, BMCs and a PDU, a Bugzilla and an auth service on loopback")
	if err := d.startFleet(ctx, bin, dir); err != nil {
		return d, err
	}
	fmt.Println("==> starting Temporal with its Web UI, roller api and roller worker; logs are in", dir)
	d.Stack, err = stack.New(ctx, stack.Options{
		Dir: dir, Roller: filepath.Join(bin, "roller"), Temporal: filepath.Join(bin, "temporal"),
		Database: true, UI: true, Preferred: true, Env: d.env,
	})
	if err != nil {
		return d, err
	}
	if err := errors.Join(d.Setup(ctx), d.StartAPI(ctx)); err != nil {
		return d, err
	}
	if _, err := d.StartWorker(); err != nil {
		return d, err
	}
	if d.client, err = d.Dial(ctx); err != nil {
		return d, err
	}
	d.starter = starter.New(d.client, d.Namespace, nil, 5*time.Second)
	return d, d.writeEnv(filepath.Join(dir, "roller.env"))
}

// startFleet writes the machines down, starts the lab and reads the files it
// wrote, which are those an operator writes.
func (d *demo) startFleet(ctx context.Context, bin, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	fleet := filepath.Join(dir, "fleet")
	if err := os.MkdirAll(fleet, 0o700); err != nil {
		return err
	}
	var specs []lab.Spec
	for _, s := range stories {
		specs = append(specs, s.Spec)
	}
	text, err := json.MarshalIndent(specs, "", "  ")
	if err != nil {
		return err
	}
	machines := filepath.Join(fleet, "machines.json")
	if err := os.WriteFile(machines, text, 0o600); err != nil {
		return err
	}
	d.fleet, err = stack.Run("lab", dir, os.Environ(), filepath.Join(bin, "lab"), "serve", "--dir", fleet, "--machines", machines)
	if err != nil {
		return err
	}
	if err := d.fleet.Ready(ctx, func(context.Context) error {
		if !strings.Contains(d.fleet.Tail(), "ready\n") {
			return errors.New("not ready yet")
		}
		return nil
	}); err != nil {
		return err
	}
	d.env, err = readEnv(filepath.Join(fleet, "env"))
	maps.Copy(d.env, timing)
	return err
}

// writeEnv keeps roller's environment, for the commands that a person tries next.
func (d *demo) writeEnv(path string) error {
	lines := d.Environ()
	slices.Sort(lines)
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "PATH=") || strings.HasPrefix(l, "HOME=") || strings.HasPrefix(l, "LAB_")
	})
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// close stops everything that was started, in order.
func (d *demo) close() {
	if d.client != nil {
		d.client.Close()
	}
	if d.Stack != nil {
		d.Close()
	}
	d.fleet.Stop()
}

// run asks for the four reboots and follows them to their ends.
func (d *demo) run(ctx context.Context) error {
	for _, s := range stories {
		url := fmt.Sprintf("%s/api/v1/workers/%s/group/%s/jobs?task_name=reboot", d.APIURL, s.WorkerID, s.WorkerGroup)
		job, err := d.post(ctx, url)
		if err != nil {
			return err
		}
		d.jobs = append(d.jobs, job)
	}
	fmt.Printf("\nWatch them in the Web UI: %s\n\n", d.UIURL)
	views, err := d.follow(ctx)
	if err != nil {
		return err
	}
	return table(views)
}

// post sends one signed request, as Taskcluster's dashboard does.
func (d *demo) post(ctx context.Context, url string) (starter.Job, error) {
	request, err := signed(ctx, d.env, http.MethodPost, url)
	if err != nil {
		return starter.Job{}, err
	}
	c := http.Client{Timeout: 15 * time.Second}
	response, err := c.Do(request)
	if err != nil {
		return starter.Job{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return starter.Job{}, err
	}
	fmt.Printf("POST %s\n  %s %s\n", strings.TrimPrefix(url, d.APIURL), response.Status, body)
	var accepted struct {
		TaskID  string `json:"task_id"`
		ID      string `json:"worker_id"`
		Group   string `json:"worker_group"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &accepted); err != nil || accepted.TaskID == "" {
		return starter.Job{}, fmt.Errorf("%s: %s", response.Status, body)
	}
	return starter.Job{Task: "reboot", TaskID: accepted.TaskID, WorkflowID: "machine/" + accepted.Group + "/" + accepted.ID}, nil
}
