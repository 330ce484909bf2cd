package lab

import (
	"encoding/json"
	"net/http"
)

// MoonshotNode is the node of every machine that has a chassis of its own, and of
// the first one of a chassis that machines share.
const MoonshotNode = "c1n1"

// coldReset is the one action of HP's REST that roller uses; a node that is off
// stays off.
func (w *web) coldReset(out http.ResponseWriter, r *http.Request) {
	var body struct{ Action, ResetType string }
	err := json.NewDecoder(http.MaxBytesReader(out, r.Body, maxBody)).Decode(&body)
	switch {
	case !login(r):
		redfishError(out, http.StatusUnauthorized, "Base.0.10.NoValidSession", "")
	case err != nil || body.Action != "Reset" || body.ResetType != "ColdReset":
		redfishError(out, http.StatusBadRequest, "Base.0.10.ActionParameterValueNotInList", "")
	default:
		w.command(out, r, Entry{Device: DeviceMoonshot, Command: "cold reset " + w.slot}, w.m.reset)
	}
}

// node answers a question about the one node.
func (w *web) node(out http.ResponseWriter, r *http.Request) {
	if !login(r) {
		redfishError(out, http.StatusUnauthorized, "Base.0.10.NoValidSession", "")
		return
	}
	writeReply(out, resource{"Type": "ComputerSystem.0.9.5", "Name": w.slot, "Power": w.powerState()})
}

func (l *Lab) iloInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.spec.ILO {
			inv[m.FQDN()] = map[string]any{
				"ilo":  map[string]any{"user": BMCUser, "password": BMCPassword},
				"addr": m.addr, "port": WebPort, "fingerprint": string(m.web.pin),
			}
		}
	}
	return inv
}

func (l *Lab) moonshotInventory() inventory {
	inv := inventory{}
	for _, m := range l.machines {
		if m.spec.Moonshot {
			inv[m.FQDN()] = map[string]any{
				"moonshot": map[string]any{"user": BMCUser, "password": BMCPassword, "node": m.web.slot},
				"addr":     m.web.door.m.addr, "port": WebPort, "fingerprint": string(m.web.pin),
			}
		}
	}
	return inv
}
