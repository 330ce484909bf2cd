package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	jsone "github.com/json-e/json-e/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/taskcluster/slugid-go/slugid"
)

// hook carries out the hooks service's calls.
func (t *Taskcluster) hook(c call, in *asked) (any, error) {
	name := in.args["hookGroupId"] + "/" + in.args["hookId"]
	there, known := t.hooks[name]
	switch c.name {
	case "hooks.createHook", "hooks.updateHook":
		created := c.name == "hooks.createHook"
		definition, err := t.definition(in)
		switch {
		case err != nil:
			return nil, err
		case created && known && !bytes.Equal(there, definition):
			return nil, refuse(http.StatusConflict, "RequestConflict", "hook `%s` already exists.", name)
		case !created && !known:
			return nil, refuse(http.StatusNotFound, "ResourceNotFound", "No such hook")
		}
		t.hooks[name] = definition
		return definition, nil
	}
	if !known {
		return nil, refuse(http.StatusNotFound, "ResourceNotFound", "No such hook")
	}
	if c.name == "hooks.triggerHook" {
		return t.fire(name, there, in)
	}
	return there, nil
}

// definition is a hook of a request, with the defaults of its schema.
func (t *Taskcluster) definition(in *asked) (json.RawMessage, error) {
	d := map[string]any{"schedule": []any{}, "bindings": []any{}, "triggerSchema": map[string]any{"type": "object", "additionalProperties": false}}
	maps.Copy(d, in.body)
	d["hookGroupId"], d["hookId"] = in.args["hookGroupId"], in.args["hookId"]
	if _, err := compileTrigger(d["triggerSchema"]); err != nil {
		t.mistake("hook %s: triggerSchema is not a valid JSON schema: %s", in.args["hookId"], err)
		return nil, refuse(http.StatusBadRequest, "InputError", "triggerSchema is not a valid JSON schema: %s", err)
	}
	return json.Marshal(d)
}

func compileTrigger(schema any) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // that of the hooks service's validator
	compiler.AssertFormat()
	if err := compiler.AddResource("https://taskcluster.test/trigger", schema); err != nil {
		return nil, err
	}
	return compiler.Compile("https://taskcluster.test/trigger")
}

// fire makes a task of a hook's template, by JSON-e, with the scopes of the hook's
// role and no others.
func (t *Taskcluster) fire(name string, definition json.RawMessage, in *asked) (any, error) {
	var hook struct {
		Task          any `json:"task"`
		TriggerSchema any `json:"triggerSchema"`
	}
	if err := json.Unmarshal(definition, &hook); err != nil {
		return nil, err
	}
	schema, err := compileTrigger(hook.TriggerSchema)
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(any(in.body)); err != nil {
		return nil, refuse(http.StatusBadRequest, "InputError", "%s", err)
	}
	id := slugid.Nice()
	rendered, err := jsone.Render(hook.Task, map[string]any{
		"taskId": id, "payload": in.body, "clientId": in.client, "firedBy": "triggerHook", "now": stamp(t.Now()),
	})
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "InputError", "While firing hook:\n\n%s", err)
	}
	task, _ := rendered.(map[string]any)
	role := "hook-id:" + name
	if err := t.createdBy(id, task, role); err != nil {
		return nil, err
	}
	return map[string]any{"taskId": id, "status": map[string]any{"taskId": id}}, nil
}

// createdBy creates a hook's task by the queue's own rules.
func (t *Taskcluster) createdBy(id string, task map[string]any, role string) error {
	create := t.calls[slices.IndexFunc(t.calls, func(c call) bool { return c.name == "queue.createTask" })]
	if task["taskGroupId"] == nil {
		task["taskGroupId"] = id
	}
	if task["created"] == nil {
		task["created"] = stamp(t.Now())
	}
	text, err := json.Marshal(task)
	if err != nil {
		return err
	}
	in := &asked{args: map[string]string{"taskId": id}, raw: text, client: role, scopes: t.roles[role]}
	if err := json.Unmarshal(text, &in.body); err != nil {
		return err
	}
	if err := conforms(create.input, json.RawMessage(text)); err != nil {
		t.mistake("hook %s: its task is not one: %s", role, err)
		return refuse(http.StatusBadRequest, "InputError", "While calling createTask: InputValidationError\n\n%s", err)
	}
	if _, err := t.create(create, in); err != nil {
		return fmt.Errorf("the role `%s` does not have sufficient scopes to create the task: %w", role, err)
	}
	return nil
}

// Hook returns a hook's definition, nil if there is none.
func (t *Taskcluster) Hook(group, id string) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	var d map[string]any
	_ = json.Unmarshal(t.hooks[group+"/"+id], &d)
	return d
}
