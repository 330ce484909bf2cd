package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLabOfManyMachines needs more than one block of addresses and more than
// one PDU per group.
func TestLabOfManyMachines(t *testing.T) {
	t.Parallel()
	var specs []Spec
	for i := range blockMachines + 5 {
		specs = append(specs, Spec{WorkerID: fmt.Sprintf("ms%d", i), NoBMC: true})
	}
	l := startLab(t, specs...)
	addrs, outlets := map[string]bool{}, map[string]bool{}
	for _, m := range l.Machines() {
		addrs[m.Addr()] = true
		outlets[m.Outlet()] = true
	}
	require.Len(t, addrs, len(specs))
	require.Len(t, outlets, len(specs))
	require.Equal(t, "pdu1.mdc1.example:AA64", l.Machine("ms63").Outlet())
	require.Equal(t, "pdu2.mdc1.example:AA1", l.Machine("ms64").Outlet())
	require.NoError(t, probe(l.Machine("ms204")))
}

func TestLabsDoNotShareABlock(t *testing.T) {
	t.Parallel()
	a := startLab(t, Spec{})
	_, err := listenTCP(t.Context(), a.blocks[0].host(blockClaim))
	require.Error(t, err, "whoever tries this block finds it taken")
	ip := net.ParseIP(a.Machines()[0].Addr()).To4()
	require.True(t, ip.IsLoopback())
	require.True(t, ip[1] >= blockFirst && ip[1] <= blockLast, "%v", ip)
}

func TestLabCloseFreesEverything(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	m, claim := l.Machines()[0], l.blocks[0].host(blockClaim)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "twice is fine")
	require.Error(t, probe(m))
	ln, err := listenTCP(t.Context(), claim)
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	m.switchOn()
	m.SetFaults(Faults{})
	require.False(t, pending(m), "nothing comes back")
}

func TestLabRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		specs []Spec
		want  string
	}{
		"no worker id": {[]Spec{{WorkerGroup: "mdc1"}}, "machine 0: worker_id and worker_group are needed"},
		"no group":     {[]Spec{{WorkerID: "a"}}, "machine 0: worker_id and worker_group are needed"},
		"twice":        {[]Spec{{WorkerID: "a", WorkerGroup: "mdc1"}, {WorkerID: "A", WorkerGroup: "mdc1"}}, "machine 1: a.test.releng.mdc1.mozilla.com is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Start(Options{Machines: tt.specs})
			require.EqualError(t, err, "lab: "+tt.want)
		})
	}
}

func TestLabMachineByName(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{WorkerID: "MS1-10"}, Spec{WorkerID: "ms1-10", WorkerGroup: "mdc2"})
	first, second := l.Machines()[0], l.Machines()[1]
	require.Same(t, first, l.Machine("ms1-10"))
	require.Same(t, first, l.Machine("MS1-10.test.releng.mdc1.mozilla.com"))
	require.Same(t, second, l.Machine("ms1-10.test.releng.mdc2.mozilla.com"))
	require.Nil(t, l.Machine("ms1-11"))
}

func TestLabWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Wait(ctx, func() bool { return false }), context.Canceled)
}

func TestLabSameSeedLosesTheSame(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) string {
		l, err := Start(Options{Seed: seed, Machines: []Spec{{WorkerID: "a", WorkerGroup: "b", Faults: Faults{LoseReplies: 0.5}}}})
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		var drawn strings.Builder
		for range 64 {
			fmt.Fprint(&drawn, l.Machines()[0].losesReply(), " ")
		}
		return drawn.String()
	}
	first, again := draw(1), draw(1)
	require.Equal(t, first, again)
	require.NotEqual(t, first, draw(2))
}

func TestSpecJSON(t *testing.T) {
	t.Parallel()
	spec := Spec{
		WorkerID: "a", WorkerGroup: "b", NoBMC: true,
		Faults: Faults{Hung: true, LoseReplies: 0.3, SlowBoot: 2 * time.Second},
		Timing: Timing{Shutdown: 1, Boot: 2 * time.Second, SSHDelay: 3, PDUDelay: 4, PDULag: 5, Cycle: 6, Install: 7},
	}
	data, err := json.Marshal(spec)
	require.NoError(t, err)
	require.JSONEq(t, `{"worker_id":"a","worker_group":"b","no_bmc":true,
		"faults":{"hung":true,"lose_replies":0.3,"slow_boot":"2s"},
		"timing":{"shutdown":"1ns","boot":"2s","ssh_delay":"3ns","pdu_delay":"4ns","pdu_lag":"5ns","cycle":"6ns","install":"7ns"}}`, string(data))
	var back Spec
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, spec, back)
	for in, want := range map[string]string{
		`{"faults":{"hang":true}}`:       `faults: json: unknown field "hang"`,
		`{"timing":{"boot":"soon"}}`:     `timing: duration: time: invalid duration "soon"`,
		`{"faults":{"slow_boot":"1 s"}}`: `faults: duration: time: unknown unit " s" in duration "1 s"`,
	} {
		require.EqualError(t, json.Unmarshal([]byte(in), &back), want)
	}
}

func TestControlAPI(t *testing.T) {
	t.Parallel()
	l := startLab(t, Spec{}, Spec{WorkerID: "ms1-11", NoBMC: true, NoOutlet: true})
	m := l.Machines()[0]
	do := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		l.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	code, body := do("GET", "/machines", "")
	require.Equal(t, http.StatusOK, code)
	var views []View
	require.NoError(t, json.Unmarshal([]byte(body), &views))
	require.Equal(t, []View{m.View(), l.Machines()[1].View()}, views)
	require.Equal(t, m.Addr()+":6623", views[0].BMC)
	require.Equal(t, "pdu1.mdc1.example:AA1", views[0].Outlet)
	require.Empty(t, views[1].BMC+views[1].Outlet+views[1].PDU)

	code, _ = do("POST", "/machines/ms1-10/faults", `{"dead_bmc":true,"slow_boot":"3s"}`)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, Faults{DeadBMC: true, SlowBoot: 3 * time.Second}, m.Faults())
	code, body = do("POST", "/machines/ms1-10/faults", `{"dead":true}`)
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, body, `unknown field "dead"`)
	require.True(t, m.Faults().DeadBMC, "a mistake changes nothing")
	code, _ = do("POST", "/machines/nobody/faults", `{}`)
	require.Equal(t, http.StatusNotFound, code)

	runSSH(t, l.login(t, m), "uptime")
	_, body = do("GET", "/log?machine=ms1-10", "")
	require.Contains(t, body, `"command":"uptime"`)
	_, body = do("GET", "/log?machine=ms1-11", "")
	require.JSONEq(t, "[]", body)
	_, body = do("GET", "/edges?machine=ms1-11", "")
	require.Equal(t, 3, strings.Count(body, l.Machines()[1].FQDN()))
}
