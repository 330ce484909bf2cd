package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"

	tcclient "github.com/taskcluster/taskcluster/v44/clients/client-go"
	"github.com/taskcluster/taskcluster/v44/clients/client-go/tchooks"

	"github.com/mozilla-platform-ops/roller/config"
)

// Hooks are what makes tasks for `roller taskcluster`, one hook for each action.
type Hooks struct {
	Group     string // the hookGroupId
	Owner     string // an email address; Taskcluster writes to it when a hook fails
	TaskQueue string // whose worker roller is
	Scopes    []string
	Tasks     []RegisteredTask
}

// The forms of a hookGroupId (services/hooks, schemas/constants.yml) and, roughly,
// of an email address.
var (
	hookGroupForm = regexp.MustCompile(`\A[a-zA-Z0-9-_]{1,64}\z`)
	ownerForm     = regexp.MustCompile(`\A[^@\s]+@[^@\s]+\.[^@\s]+\z`)
)

// Validate checks what the services would refuse.
func (h Hooks) Validate() error {
	if !hookGroupForm.MatchString(h.Group) {
		return errors.New("the hook group must be 1 to 64 letters, digits, - and _")
	}
	if !ownerForm.MatchString(h.Owner) {
		return errors.New("the owner must be an email address: Taskcluster writes to it when a hook fails")
	}
	return nil
}

// HookID is the name of a task's hook.
func HookID(task string) string { return "roller-" + task }

// hookSource is the source that a hook's tasks name.
const hookSource = "https://github.com/mozilla-platform-ops/roller"

// eval is a JSON-e expression.
func eval(expression string) map[string]any { return map[string]any{"$eval": expression} }

// given is what the form says, or another value where it says nothing; nil is none.
func given(field string, otherwise any) map[string]any {
	out := map[string]any{"$if": "'" + field + "' in payload", "then": eval("payload." + field)}
	if otherwise != nil {
		out["else"] = otherwise
	}
	return out
}

// definition is a task's hook. Its template gives every optional field a value: the
// service does not apply a schema's defaults. Who asked is put in by the service.
func (h Hooks) definition(t RegisteredTask) (*tchooks.HookCreationRequest, error) {
	life := "2 hours"
	if t.Name == "reimage" || t.Name == config.ReturnLoan {
		life = "4 hours" // an installation may take two
	}
	payload, form := h.form(t.Name)
	task, err := json.Marshal(map[string]any{
		"taskQueueId": h.TaskQueue, "schedulerId": "-", "priority": "lowest", "retries": 0,
		"deadline": map[string]any{"$fromNow": life}, "expires": map[string]any{"$fromNow": "90 days"},
		"scopes":   h.scopes(t.Name),
		"payload":  payload,
		"extra":    map[string]any{"requestedBy": eval("clientId")},
		"metadata": map[string]any{"name": "roller: " + t.Name + " of ${payload.worker_id}", "description": t.Description, "owner": h.Owner, "source": hookSource},
	})
	if err != nil {
		return nil, err
	}
	schema, err := json.Marshal(map[string]any{
		"type": "object", "additionalProperties": false, "required": []string{"worker_id"}, "properties": form,
	})
	if err != nil {
		return nil, err
	}
	return &tchooks.HookCreationRequest{
		Metadata: tchooks.HookMetadata{Name: "roller: " + t.Name, Description: t.Description + ".", Owner: h.Owner, EmailOnError: true},
		Task:     task, TriggerSchema: schema,
	}, nil
}

// form is the payload of a hook's tasks, and what the hook's form asks for it.
func (h Hooks) form(task string) (payload, properties map[string]any) {
	name := map[string]any{"type": "string", "pattern": "^[_0-9a-zA-Z][-_0-9a-zA-Z]{0,127}$"}
	payload = map[string]any{
		"task_name": task, "worker_id": eval("payload.worker_id"),
		"worker_group": given("worker_group", config.AnyGroup), "priority": given("priority", "normal"),
		"provisioner_id": given("provisioner_id", ""), "worker_type": given("worker_type", ""),
	}
	properties = map[string]any{
		"worker_id":      with(name, "the machine, like ms1-10"),
		"worker_group":   with(name, "its data centre, like mdc1; none is any"),
		"priority":       map[string]any{"type": "string", "enum": []string{"normal", bulk}, "description": "bulk lets every other job go first"},
		"provisioner_id": with(name, "of the worker's task queue, like releng-hardware, where the inventory does not say it"),
		"worker_type":    with(name, "of the worker's task queue"),
	}
	if config.MayDrain(task) {
		payload["drain"] = given("drain", nil)
		properties["drain"] = map[string]any{"type": "boolean", "description": "whether the worker is taken out of work first, and its task waited for; without it the inventory says so"}
	}
	if config.IsLoan(task) {
		payload["why"] = given("why", nil)
		properties["why"] = map[string]any{"type": "string", "maxLength": 200, "description": "what it is for; it becomes public"}
	}
	if task == config.ReturnLoan {
		payload["reimage"] = given("reimage", nil)
		properties["reimage"] = map[string]any{"type": "boolean", "description": "false returns the machine as it is; without it it is erased and installed anew"}
	}
	return payload, properties
}

func with(schema map[string]any, description string) map[string]any {
	out := map[string]any{"description": description}
	maps.Copy(out, schema)
	return out
}

// scopes are what a task must have, so that roller does what it asks.
func (h Hooks) scopes(task string) []string {
	out := make([]string, 0, len(h.Scopes))
	for _, template := range h.Scopes {
		out = append(out, config.ScopeOf(template, task))
	}
	return out
}

// Register creates the hooks, or makes those that are there as they should be;
// their schedules and bindings stay. say is told of each.
func (h Hooks) Register(ctx context.Context, cfg config.Taskcluster, say func(string)) error {
	client := tchooks.New(&tcclient.Credentials{ClientID: cfg.ClientID, AccessToken: cfg.AccessToken.Reveal()}, cfg.RootURL)
	client.Context = ctx
	client.HTTPClient, client.HTTPBackoffClient = inTime(cfg)
	for _, t := range h.Tasks {
		did, err := h.register(client, t)
		if err != nil {
			return err
		}
		say(did + " hook " + h.Group + "/" + HookID(t.Name))
	}
	return nil
}

func (h Hooks) register(client *tchooks.Hooks, t RegisteredTask) (did string, err error) {
	want, err := h.definition(t)
	if err != nil {
		return "", err
	}
	id := HookID(t.Name)
	there, err := client.Hook(h.Group, id)
	if err != nil && statusOf(err) != http.StatusNotFound {
		return "", h.explain("hook", id, err)
	}
	if err != nil {
		_, err = client.CreateHook(h.Group, id, want)
		return "created", h.explain("createHook", id, err)
	}
	want.Bindings, want.Schedule = there.Bindings, there.Schedule
	if there.Metadata == want.Metadata && sameJSON(there.Task, want.Task) && sameJSON(there.TriggerSchema, want.TriggerSchema) {
		return "unchanged", nil
	}
	_, err = client.UpdateHook(h.Group, id, want)
	return "updated", h.explain("updateHook", id, err)
}

// sameJSON compares two texts as Go writes what is in them, with sorted keys.
func sameJSON(a, b json.RawMessage) bool {
	var left, right any
	if json.Unmarshal(a, &left) != nil || json.Unmarshal(b, &right) != nil {
		return false
	}
	l, _ := json.Marshal(left) // what was decoded can be encoded
	r, _ := json.Marshal(right)
	return bytes.Equal(l, r)
}

// explain says what the service's refusal means.
func (h Hooks) explain(call, id string, err error) error {
	if err == nil {
		return nil
	}
	name := h.Group + "/" + id
	switch status := statusOf(err); status {
	case 0:
		return fmt.Errorf("%s %s: taskcluster gave no usable answer; check TASKCLUSTER_ROOT_URL: %w", call, name, lost(cause(err)))
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN are not accepted (401)", call)
	case http.StatusForbidden:
		return fmt.Errorf("%s: TASKCLUSTER_CLIENT_ID lacks a scope; needed are %s", call, strings.Join(h.registrar(id), ", "))
	default:
		return fmt.Errorf("%s %s: taskcluster answered %d", call, name, status)
	}
}

func (h Hooks) registrar(id string) []string {
	return []string{
		"hooks:get:" + h.Group + ":" + id, "hooks:modify-hook:" + h.Group + "/" + id, "assume:hook-id:" + h.Group + "/" + id,
	}
}

// Grant is what an administrator must give to whom.
type Grant struct {
	To     string
	Scopes []string
}

// Grants lists what the hooks and roller need. workerGroup is that of the worker as
// which roller claims tasks.
func (h Hooks) Grants(clientID, workerGroup string) []Grant {
	var out []Grant
	for _, t := range h.Tasks {
		out = append(out, Grant{"role hook-id:" + h.Group + "/" + HookID(t.Name), append([]string{
			"queue:create-task:lowest:" + h.TaskQueue, "queue:create-task:project:none", "queue:scheduler-id:-",
		}, h.scopes(t.Name)...)})
	}
	if clientID == "" {
		clientID = "of `roller taskcluster`"
	}
	out = append(out, Grant{"client " + clientID, []string{
		"queue:claim-work:" + h.TaskQueue, "queue:worker-id:" + workerGroup + "/*", "queue:status:*",
	}})
	for _, t := range h.Tasks {
		out = append(out, Grant{"whoever may ask for " + t.Name, []string{"hooks:trigger-hook:" + h.Group + "/" + HookID(t.Name)}})
	}
	return out
}
