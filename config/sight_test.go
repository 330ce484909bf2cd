package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCanaries(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{"CANARIES= MDC1 = GW1.example, ns1.example:53 ; *=10.0.0.1,[2001:db8::1]:22,2001:db8::2 ", "BLIND_LIMIT=20m"})
	require.NoError(t, err)
	require.Equal(t, Duration(20*time.Minute), c.Sight.BlindLimit)
	texts := func(group string) (all []string) {
		for _, canary := range c.Sight.Of(group) {
			all = append(all, canary.Probe.Network+" "+canary.String())
		}
		return all
	}
	require.Equal(t, []string{"icmp gw1.example", "tcp ns1.example:53"}, texts("mdc1"))
	require.Equal(t, []string{"icmp 10.0.0.1", "tcp [2001:db8::1]:22", "icmp 2001:db8::2"}, texts("mdc2"))

	c, err = Load(nil)
	require.NoError(t, err)
	require.Empty(t, c.Sight.Of("mdc1"))
	require.Equal(t, Duration(time.Hour), c.Sight.BlindLimit)
}

func TestBadCanaries(t *testing.T) {
	t.Parallel()
	const form = `: must be a worker group or *, = and its canary hosts with commas between them, like mdc1=gw1.example,ns1.example:53`
	const host = `: must be a host name or an IP address, which is pinged, or with a port (host:22, [2001:db8::1]:22), which is connected to`
	for value, message := range map[string]string{
		"gw1.example":     `CANARIES="gw1.example"` + form,
		"mdc1=":           `CANARIES="mdc1="` + form,
		"md c=a":          `CANARIES="md c=a"` + form,
		"mdc1=a;MDC1=b":   `CANARIES="MDC1=b": names mdc1 a second time`,
		"mdc1=a:0":        `CANARIES="a:0"` + host,
		"mdc1=a:65536":    `CANARIES="a:65536"` + host,
		"mdc1=-c4":        `CANARIES="-c4"` + host,
		"mdc1=tcp:a.b:22": `CANARIES="tcp:a.b:22"` + host,
	} {
		_, err := Load([]string{"CANARIES=" + value})
		require.EqualError(t, err, message)
	}
}

func TestCanaryWarnings(t *testing.T) {
	t.Parallel()
	machine := func(id, group, pdu string) Machine {
		m := Machine{Name: Name{id, group}, FQDN: id + ".test.releng." + group + ".mozilla.com", Addr: id}
		if pdu != "" {
			m.Outlets = []Outlet{{PDU: pdu, Number: 1}, {PDU: pdu, Number: 2}}
		}
		return m
	}
	inventory := NewInventory(machine("a", "mdc1", "pdu1"), machine("b", "mdc1", "pdu1"), machine("c", "mdc2", ""), machine("d", "mdc2", "pdu1"))
	for name, c := range map[string]struct {
		canaries string
		want     []string
	}{
		"none":           {"", []string{"CANARIES is not set: a worker that is cut off from its machines takes them for down"}},
		"good":           {"mdc1=gw;mdc2=gw", nil},
		"good for all":   {"*=gw", nil},
		"a group is out": {"mdc1=gw", []string{"CANARIES has none for mdc2: a worker that is cut off from its machines takes them for down"}},
		"a typing error": {"mdc1=gw;mcd2=gw;*=gw", []string{"CANARIES: the inventory has no worker group mcd2"}},
		"a machine, by its address": {"mdc1=c;*=gw", []string{
			"CANARIES: c is machine mdc2/c of the inventory, which jobs restart and switch off",
		}},
		"a machine on their PDU": {"mdc1=a.test.releng.mdc1.mozilla.com;*=gw", []string{
			"CANARIES: a.test.releng.mdc1.mozilla.com hangs on pdu1, as do 1 of the machines that it speaks for",
			"CANARIES: a.test.releng.mdc1.mozilla.com is machine mdc1/a of the inventory, which jobs restart and switch off",
		}},
		"for every other group": {"mdc1=gw;*=a:22", []string{
			"CANARIES: a:22 hangs on pdu1, as do 1 of the machines that it speaks for",
			"CANARIES: a:22 is machine mdc1/a of the inventory, which jobs restart and switch off",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := Load([]string{"CANARIES=" + c.canaries})
			require.NoError(t, err)
			require.Equal(t, c.want, cfg.CanaryWarnings(inventory))
		})
	}
}
