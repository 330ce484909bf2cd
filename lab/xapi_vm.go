package lab

import (
	"context"
	"encoding/pem"
	"net/http"
	"time"
)

// DeviceXen is the pool, in Entry.Device.
const DeviceXen = "xen"

// xenGivesUp is far longer than any test waits for a guest that does not stop.
const xenGivesUp = 20 * time.Minute

// CA returns the certificate to trust, in PEM.
func (x *XAPI) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.server.Certificate().Raw})
}

func (x *XAPI) stop() {
	x.mu.Lock()
	for m := range x.stopping {
		x.overLocked(m)
	}
	x.mu.Unlock()
	x.server.CloseClientConnections()
	x.server.Close()
}

// vm is a call about one VM.
func (x *XAPI) vm(r *http.Request, m *Machine, method string) (any, *rpcError) {
	on := m.State().Power
	switch method {
	case "VM.get_by_uuid":
		return vmRef(m), nil
	case "VM.get_power_state":
		return map[bool]string{true: "Running", false: "Halted"}[on], nil
	case "VM.get_current_operations":
		x.mu.Lock()
		defer x.mu.Unlock()
		operations := map[string]string{}
		if x.stopping[m] != nil && on {
			operations["OpaqueRef:task"] = "clean_shutdown"
		}
		return operations, nil
	case "VM.clean_shutdown", "VM.hard_shutdown", "VM.start":
		return x.control(r, m, method, on)
	}
	return nil, failure("MESSAGE_METHOD_UNKNOWN", method)
}

func (x *XAPI) control(r *http.Request, m *Machine, method string, on bool) (result any, failed *rpcError) {
	end := x.lab.journal.begin(Entry{
		Device: DeviceXen, Host: "xen", Machine: m.FQDN(), Command: method, Control: true, From: r.RemoteAddr,
	})
	if m.Faults().LoseCommand {
		end(false)
		panic(http.ErrAbortHandler)
	}
	if want := method != "VM.start"; on != want {
		end(false)
		states := map[bool]string{true: "running", false: "halted"}
		return nil, failure("VM_BAD_POWER_STATE", vmRef(m), states[want], states[on])
	}
	switch {
	case method == "VM.start":
		m.switchOn()
	case method == "VM.hard_shutdown":
		m.switchOff()
		x.over(m)
	case m.Faults().RefuseShutdown:
		end(false)
		return nil, failure("VM_LACKS_FEATURE", vmRef(m))
	default:
		over := x.begin(m) //nolint:contextcheck // a shutdown outlives its caller's connection
		end(true)
		select {
		case <-over:
		case <-r.Context().Done(): // the shutdown goes on
		}
		return "", nil
	}
	end(true)
	if m.Faults().LoseCommandReply {
		panic(http.ErrAbortHandler)
	}
	return "", nil
}

// begin begins a clean shutdown, which outlives its caller's connection.
func (x *XAPI) begin(m *Machine) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if over := x.stopping[m]; over != nil {
		return over
	}
	over := make(chan struct{})
	x.stopping[m] = over
	m.softOff()
	ctx, cancel := context.WithTimeout(context.Background(), xenGivesUp)
	x.lab.running.Go(func() { <-over; cancel() })
	x.lab.running.Go(func() {
		_ = x.lab.Wait(ctx, func() bool { return !m.State().Power })
		x.over(m)
	})
	return over
}

func (x *XAPI) over(m *Machine) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.overLocked(m)
}

func (x *XAPI) overLocked(m *Machine) {
	if over := x.stopping[m]; over != nil {
		close(over)
		delete(x.stopping, m)
	}
}
