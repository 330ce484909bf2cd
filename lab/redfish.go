package lab

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Paths of the Redfish service (DSP0266, 6.1; the rest as on an iLO 5).
const (
	redfishRoot     = "/redfish/v1/"
	redfishSessions = redfishRoot + "SessionService/Sessions"
	redfishSystem   = redfishRoot + "Systems/1"
	redfishReset    = redfishSystem + "/Actions/ComputerSystem.Reset"
	redfishInfo     = redfishSystem + "/ResetActionInfo"
)

// redfishResetTypes is what an iLO 5 offers.
var redfishResetTypes = []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "Nmi", "PushPowerButton"}

type resource map[string]any

// redfish serves what a client of one system needs.
func (w *web) redfish(mux *http.ServeMux) {
	mux.HandleFunc("GET "+redfishRoot+"{$}", w.root)
	mux.HandleFunc("POST "+redfishSessions, w.openSession)
	mux.HandleFunc("DELETE "+redfishSessions+"/{token}", w.closeSession)
	for path, answer := range map[string]func() resource{
		redfishRoot + "Systems": func() resource {
			return resource{"Members": []resource{{"@odata.id": redfishSystem}}, "Members@odata.count": 1}
		},
		redfishSystem: w.system,
		redfishInfo: func() resource {
			return resource{"Id": "ResetActionInfo", "Parameters": []resource{{
				"Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": w.offers(),
			}}}
		},
	} {
		mux.HandleFunc("GET "+path, w.private(func(out http.ResponseWriter, _ *http.Request) {
			o := answer()
			o["@odata.id"] = path
			writeReply(out, o)
		}))
	}
	mux.HandleFunc("POST "+redfishReset, w.private(w.reset))
	mux.HandleFunc("PATCH "+redfishSystem, w.private(w.patch))
}

// root needs no login (DSP0266, 9.3.3).
func (w *web) root(out http.ResponseWriter, _ *http.Request) {
	root := resource{
		"@odata.id": redfishRoot, "Id": "RootService", "RedfishVersion": "1.6.0",
		"Systems": resource{"@odata.id": redfishRoot + "Systems"},
		"Links":   resource{"Sessions": resource{"@odata.id": redfishSessions}},
	}
	writeReply(out, root)
}

func (w *web) openSession(out http.ResponseWriter, r *http.Request) {
	var who struct{ UserName, Password string }
	switch {
	case w.m.Faults().Web.NoSessions:
		http.NotFound(out, r)
	case json.NewDecoder(http.MaxBytesReader(out, r.Body, maxBody)).Decode(&who) != nil:
		redfishError(out, http.StatusBadRequest, "Base.1.8.MalformedJSON", "")
	case who.UserName != BMCUser || who.Password != BMCPassword:
		w.mu.Lock()
		w.refused++
		w.mu.Unlock()
		redfishError(out, http.StatusUnauthorized, "Base.1.8.NoValidSession", "")
	default:
		token := rand.Text()
		w.mu.Lock()
		w.sessions[token] = true
		w.opened++
		w.mu.Unlock()
		out.Header().Set("X-Auth-Token", token)
		out.Header().Set("Location", redfishSessions+"/"+token)
		out.WriteHeader(http.StatusCreated)
	}
}

func (w *web) closeSession(_ http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	delete(w.sessions, r.PathValue("token"))
	w.mu.Unlock()
	w.m.lab.journal.ring()
}

// private asks for a session or for Basic authentication.
func (w *web) private(then http.HandlerFunc) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		known := w.sessions[r.Header.Get("X-Auth-Token")]
		w.mu.Unlock()
		if !known && !login(r) {
			redfishError(out, http.StatusUnauthorized, "Base.1.8.NoValidSession", "")
			return
		}
		then(out, r)
	}
}

func (w *web) offers() []string {
	if only := w.m.Faults().Web.Offers; only != "" {
		return strings.Split(only, ",")
	}
	return redfishResetTypes
}

func (w *web) system() resource {
	reset := resource{"target": redfishReset}
	if w.m.Faults().Web.Info {
		reset["@Redfish.ActionInfo"] = redfishInfo
	} else {
		reset["ResetType@Redfish.AllowableValues"] = w.offers()
	}
	return resource{
		"@odata.etag": `W/"1"`, "Id": "1", "Name": "Computer System", "PowerState": w.powerState(),
		"Actions": resource{"#ComputerSystem.Reset": reset},
		"Boot":    w.bootOverride(),
	}
}

// redfishBootSources is what an iLO 5 offers.
var redfishBootSources = []string{"None", "Cd", "Hdd", "Usb", "Utilities", "Diags", "BiosSetup", "Pxe", "UefiShell", "UefiHttp", "UefiTarget"}

func (w *web) bootSources() []string {
	if only := w.m.Faults().Web.BootSource; only != "" {
		return []string{only}
	}
	return redfishBootSources
}

func (w *web) bootOverride() resource {
	boot := resource{
		"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
		"BootSourceOverrideTarget@Redfish.AllowableValues": w.bootSources(),
	}
	if w.m.State().Netboot {
		boot["BootSourceOverrideEnabled"], boot["BootSourceOverrideTarget"] = "Once", "Pxe"
	}
	return boot
}

// patch sets the boot override (DSP0268, ComputerSystem, Boot).
func (w *web) patch(out http.ResponseWriter, r *http.Request) {
	var body struct {
		Boot struct{ BootSourceOverrideEnabled, BootSourceOverrideTarget string }
	}
	err := json.NewDecoder(http.MaxBytesReader(out, r.Body, maxBody)).Decode(&body)
	on := body.Boot.BootSourceOverrideEnabled == "Once"
	word := "boot override " + body.Boot.BootSourceOverrideEnabled
	end := w.m.lab.journal.begin(Entry{Device: DeviceILO, Host: w.m.FQDN(), Machine: w.m.FQDN(), Command: word, From: r.RemoteAddr})
	valid := err == nil && (!on || body.Boot.BootSourceOverrideTarget == "Pxe" && slices.Contains(w.bootSources(), "Pxe"))
	done := valid && w.m.setNetboot(on)
	end(done)
	if !done {
		redfishError(out, http.StatusBadRequest, "Base.1.8.PropertyValueNotInList", "The password is "+BMCPassword)
		return
	}
	redfishError(out, http.StatusOK, "Base.1.8.Success", "")
}

// powerState is read from the machine, or remembered as some BMCs do.
func (w *web) powerState() string {
	on, stale := w.m.State().Power, w.m.Faults().Web.StaleFor
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.read == "" || time.Since(w.readAt) >= stale {
		w.readAt, w.read = time.Now(), map[bool]string{true: "On", false: "Off"}[on]
	}
	return w.read
}

// reset carries out a ComputerSystem.Reset (DSP0268).
func (w *web) reset(out http.ResponseWriter, r *http.Request) {
	var body struct{ ResetType string }
	err := json.NewDecoder(http.MaxBytesReader(out, r.Body, maxBody)).Decode(&body)
	if err != nil || !slices.Contains(w.offers(), body.ResetType) {
		redfishError(out, http.StatusBadRequest, "Base.1.8.ActionParameterValueNotInList", "")
		return
	}
	w.command(out, r, Entry{Device: DeviceILO, Command: "reset " + body.ResetType}, func() bool {
		was := w.m.State().Power
		switch body.ResetType {
		case "On", "ForceOn":
			w.m.switchOn()
			return !was
		case "ForceOff":
			w.m.switchOff()
			return was
		case "ForceRestart":
			return w.m.reset()
		case "PowerCycle":
			return w.m.cycle()
		}
		return false
	})
}

// redfishError answers as DSP0266 says, success too, and as HP's REST does.
func redfishError(out http.ResponseWriter, status int, id, text string) {
	message := resource{"MessageId": id, "MessageID": id, "Message": text}
	answer := resource{
		"error":    resource{"code": "Base.1.8.GeneralError", "message": "See @Message.ExtendedInfo.", "@Message.ExtendedInfo": []resource{message}},
		"Messages": []resource{message},
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(answer) // the client has gone
}
