package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Promise 7: what one device is has one name, however it is spelled and by
// whichever protocol it is spoken to.
func TestDevicesOf(t *testing.T) {
	t.Parallel()
	d := Devices{XenURL: "https://Xen1.example:8443"}
	m := Machine{
		Name:     Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"},
		IPMI:     &IPMI{Host: "10.49.16.20", Port: 623},
		ILO:      &ILO{Host: "10.49.16.20", Port: 443},
		Moonshot: &Moonshot{Host: "Moon-1.example.", Port: 443},
		Xen:      &Xen{UUID: "x"},
		Outlets:  []Outlet{{PDU: "pdu2.example", Number: 1}, {PDU: "pdu1.example", Number: 1}, {PDU: "pdu2.example", Number: 2}},
	}
	bridged := m
	bridged.IPMI = &IPMI{Host: "moon-1.EXAMPLE", Port: 623, Bridge: Cartridge{1, 1}.Bridge()}
	forwarded := m
	forwarded.IPMI, forwarded.ILO = &IPMI{Host: "::ffff:10.0.0.1", Port: 6231}, nil
	for name, test := range map[string]struct {
		machine Machine
		task    string
		want    []string
	}{
		"IPMI":                         {m, "ipmi_reset", []string{"bmc/10.49.16.20"}},
		"a read":                       {m, "ipmi_status", []string{"bmc/10.49.16.20"}},
		"Redfish to the same":          {m, "ilo_reboot", []string{"bmc/10.49.16.20"}},
		"bridged":                      {bridged, "ipmi_off", []string{"chassis/moon-1.example"}},
		"HP's REST to the same":        {bridged, "moonshot_reset", []string{"chassis/moon-1.example"}},
		"by port":                      {forwarded, "ipmi_reset", []string{"bmc/10.0.0.1:6231"}},
		"two PDUs, in one order":       {m, "snmp_rebootdelay", []string{"pdu/pdu1.example", "pdu/pdu2.example"}},
		"the pool":                     {m, "xenapi_reboot", []string{"xen/xen1.example"}},
		"the pool, in old words":       {m, "xen_reboot", []string{"xen/xen1.example"}},
		"the machine itself":           {m, "ssh_reboot", nil},
		"none":                         {m, "ping", nil},
		"what the inventory has not":   {forwarded, "ilo_reboot", nil},
		"a machine without any device": {Machine{}, "snmp_reboot", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, device := range d.Of(test.machine, test.task) {
				got = append(got, device.String())
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	d := Devices{DeviceInterval: 1, BMCInterval: 2, ChassisInterval: 3, SNMPTimeout: 4, XenTimeout: 5, IPMITimeout: 6, ILOTimeout: 7}
	for kind, want := range map[DeviceKind]Duration{PDU: 4, Pool: 5, BMC: 7, Chassis: 7} {
		require.Equal(t, want, d.LongestSend(kind), kind)
	}
	for kind, want := range map[DeviceKind]Duration{PDU: 1, Pool: 1, BMC: 2, Chassis: 3} {
		require.Equal(t, want, d.Interval(kind), kind)
	}
}
