package lab

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// who checks a request's Hawk header, by the client's own key or by that of
// temporary credentials which this deployment signed.
func (t *Taskcluster) who(r *http.Request) (client string, scopes []string, err error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", []string{anonymousScope}, nil
	}
	at, err := netip.ParseAddrPort(r.Host)
	if err != nil {
		return "", nil, refuse(http.StatusBadRequest, "InvalidRequest", "host %s", r.Host)
	}
	resource, host, port := r.RequestURI, at.Addr().String(), int(at.Port())
	q := question{Method: &r.Method, Resource: &resource, Host: &host, Port: &port, Authorization: header}
	fields, scopes, err := t.login(q)
	if err != nil {
		return "", nil, refuse(http.StatusUnauthorized, "AuthenticationFailed", "%s", err)
	}
	return fields["id"], scopes, nil
}

// certificateSkew is how far the times of a certificate may be off (services/auth,
// signaturevalidator.js: 5 minutes).
const certificateSkew = 5 * time.Minute

// issue gives a run of a task its credentials (services/queue, task-creds.js).
func (t *Taskcluster) issue(task *queueTask, run *queueRun) (map[string]any, error) {
	id := task.id + "/" + strconv.Itoa(run.number)
	scopes := []string{"queue:reclaim-task:" + id, "queue:resolve-task:" + id, "queue:create-artifact:" + id}
	client := "task-client/" + id + "/on/" + run.workerGroup + "/" + run.workerID + "/until/" + strconv.FormatInt(run.takenUntil.Unix(), 10)
	made, err := t.issuer.CreateNamedTemporaryCredentials(client, time.Until(run.takenUntil), append(scopes, task.strings("scopes")...)...)
	if err != nil {
		return nil, err
	}
	t.tokens = append(t.tokens, made.AccessToken)
	return map[string]any{"clientId": made.ClientID, "accessToken": made.AccessToken, "certificate": made.Certificate}, nil
}

// granted evaluates a scope expression of the reference: "" if it is satisfied,
// else a scope that is missing.
func granted(expression any, held []string, values map[string]string, lists map[string][]string) (missing string) {
	e, ok := expression.(map[string]any)
	if !ok {
		template, _ := expression.(string)
		if scope := filled(template, values); !holds(held, scope) {
			return scope
		}
		return ""
	}
	for _, part := range parts(e["AllOf"], lists) {
		if missing := granted(part, held, values, lists); missing != "" {
			return missing
		}
	}
	for _, part := range parts(e["AnyOf"], lists) {
		if missing = granted(part, held, values, lists); missing == "" {
			return ""
		}
	}
	return missing
}

// parts are those of an AllOf or an AnyOf, with each "for ... in" made many.
func parts(list any, lists map[string][]string) []any {
	var out []any
	all, _ := list.([]any)
	for _, part := range all {
		e, _ := part.(map[string]any)
		each, loop := e["each"].(string)
		if !loop {
			out = append(out, part)
			continue
		}
		name, _ := e["for"].(string)
		in, _ := e["in"].(string)
		for _, value := range lists[in] {
			out = append(out, strings.ReplaceAll(each, "<"+name+">", value))
		}
	}
	return out
}

func filled(template string, values map[string]string) string {
	for name, value := range values {
		template = strings.ReplaceAll(template, "<"+name+">", value)
	}
	return template
}
