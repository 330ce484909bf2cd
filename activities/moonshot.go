package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/mozilla-platform-ops/roller/config"
)

// moonshotReset is the body of the one command. That actions are POSTed to the
// resource itself is in "HP RESTful API Data Model Reference for Moonshot Chassis
// Manager" (HP 802725-001a, November 2014; chassis manager 1.30 and later), that a
// node is /rest/v1/Systems/c1n1 in HP's examples of its REST clients. The reset
// type and Basic authentication are those of the tool by which Mozilla resets its
// own cartridges (mozilla-platform-ops/relops-infra, moonshot/moonshot_lib.py).
const moonshotReset = `{"Action":"Reset","ResetType":"ColdReset"}`

// MoonshotReset resets the machine as a node of an HP Moonshot chassis, by its
// manager's own REST. Action: Reset.
func (a *Activities) MoonshotReset(ctx context.Context, in Command) (CommandResult, error) {
	res, err := a.command(ctx, in, deed{
		protocol: "moonshot",
		actions:  []Action{Reset},
		missing:  noMoonshot,
		send:     a.moonshotSend,
	})
	return res, fail(err)
}

func noMoonshot(m config.Machine) string {
	if m.Moonshot == nil {
		return "no moonshot entry"
	}
	return ""
}

// moonshotPower reads the node's power state, in lower case. HP's interface of
// 2014 calls it Power, later ones PowerState.
func (a *Activities) moonshotPower(ctx context.Context, m config.Machine) (string, error) {
	at := *m.Moonshot
	b, err := newBMCHTTP(a.Config.Devices, at.Fingerprint)
	if err != nil {
		return "", err
	}
	what := "moonshot " + at.Addr() + ": power of " + at.Node
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, moonshotURL(at), http.NoBody)
	if err != nil {
		return "", refused("%s: %w", what, err)
	}
	r.SetBasicAuth(at.User, at.Password.Reveal())
	resp, err := b.client().Do(r)
	if err != nil {
		return "", b.readError(what)
	}
	defer func() { _ = resp.Body.Close() }() // in memory
	var node struct{ Power, PowerState string }
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&node) != nil || node.Power+node.PowerState == "" {
		return "", b.readError(what)
	}
	return strings.ToLower(cmp.Or(node.PowerState, node.Power)), nil
}

func moonshotURL(at config.Moonshot) string {
	return "https://" + at.Addr() + "/rest/v1/Systems/" + at.Node
}

// moonshotSend POSTs once, with Basic authentication: the manager has no
// sessions in this interface.
func (a *Activities) moonshotSend(ctx context.Context, m config.Machine, _ Action, ready func() error) (string, error) {
	at := *m.Moonshot
	what := "cold reset of " + at.Node
	b, err := newBMCHTTP(a.Config.Devices, at.Fingerprint)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, moonshotURL(at), strings.NewReader(moonshotReset))
	if err != nil {
		return "", refused("moonshot %s: %w", at.Addr(), err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(at.User, at.Password.Reveal())
	b.arm(ready)
	if resp, err := b.client().Do(r); err == nil {
		_ = resp.Body.Close() // in memory
	}
	done := b.outcome()
	mean, already := actMeaning(done)
	switch {
	case done.unready != nil:
		return "", done.unready
	case already:
		return "", notSent("moonshot %s: %s: %s", at.Addr(), what, actText(done))
	case mean == "":
		return what, nil
	case done.status == 0:
		return sentIf(mean, what), meaning(mean, "moonshot %s: %s: %w", at.Addr(), what, done.err)
	}
	return sentIf(mean, what), meaning(mean, "moonshot %s: %s: %s", at.Addr(), what, actText(done))
}
