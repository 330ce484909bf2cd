package config

const enterprises = ".1.3.6.1.4.1." // SNMPv2-SMI

// profiles are the families known by name. Each says where its numbers are from,
// in one of two ways: "read in" is the vendor's own MIB, "by" are programs of
// others that switch such PDUs, which agree with each other and with roller.
// What is said of devices is what recordings of theirs answer (LibreNMS,
// tests/snmpsim).
var profiles = []*Profile{
	{
		// Read in Sentry3-MIB (Server Technology, March 2009): sentry3, outletStatus,
		// outletControlAction; index tower, infeed, outlet. A Sentry Switched CDU 7.1a
		// says this sysObjectID.
		Name: "sentry3", Models: []string{enterprises + "1718.3"}, Index: IndexTower,
		Status: enterprises + "1718.3.2.3.1.5",
		States: map[int]string{0: off, 1: on, 2: "off-wait", 3: "on-wait", 4: "off-error", 5: "on-error", 6: "no-comm", 7: "reading", 8: "off-fuse", 9: "on-fuse"},
		On:     Setting{enterprises + "1718.3.2.3.1.11", 1}, Off: Setting{enterprises + "1718.3.2.3.1.11", 2}, Reboot: Setting{enterprises + "1718.3.2.3.1.11", 3},
	},
	{
		// Read in Sentry4-MIB (November 2016): sentry4, st4OutletState with the
		// convention DeviceState, st4OutletControlAction; index unit, input cord,
		// outlet. A Sentry Smart PDU says this sysObjectID. Also by Xen's osstest
		// (pdu-snmp).
		Name: "sentry4", Models: []string{enterprises + "1718.4"}, Index: IndexTower,
		Status: enterprises + "1718.4.1.8.3.1.1", States: map[int]string{0: "unknown", 1: on, 2: off},
		On: Setting{enterprises + "1718.4.1.8.5.1.2", 1}, Off: Setting{enterprises + "1718.4.1.8.5.1.2", 2}, Reboot: Setting{enterprises + "1718.4.1.8.5.1.2", 3},
	},
	{
		// Read in PowerNet-MIB (APC): masterSwitchrPDU, rPDUOutletStatusOutletState,
		// rPDUOutletControlOutletCommand (immediateOn, -Off, -Reboot). The same by
		// fence_apc_snmp and ironic (SNMPDriverAPCRackPDU).
		Name: "apc_rpdu", Models: []string{enterprises + "318.1.3.4.5"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.12.3.5.1.1.4", States: map[int]string{1: on, 2: off},
		On: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 1}, Off: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 2}, Reboot: Setting{enterprises + "318.1.1.12.3.3.1.1.4", 3},
	},
	{
		// Read in PowerNet-MIB: masterSwitchrPDU2 (AP8888, AP8932) and masterSwitchrPDUB
		// (AP7900B), and these devices say them; rPDU2OutletSwitchedStatusState, whose
		// numbers are the other way round than those of rPDU, and
		// rPDU2OutletSwitchedControlCommand (immediateOn, -Off, -Reboot).
		Name: "apc_rpdu2", Models: []string{enterprises + "318.1.3.4.6", enterprises + "318.1.3.4.8"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.26.9.2.3.1.5", States: map[int]string{1: off, 2: on},
		On: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 1}, Off: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 2}, Reboot: Setting{enterprises + "318.1.1.26.9.2.4.1.5", 3},
	},
	{
		// Read in PowerNet-MIB: masterSwitchV1 and V2 (masterSwitchVM and MSP have tables
		// of their own), sPDUOutletCtl, which reads as the outlet's state. The same by
		// fence_apc_snmp, ironic (SNMPDriverAPCMasterSwitch) and powerman (apc-snmp.dev).
		Name: "apc_masterswitch", Models: []string{enterprises + "318.1.3.4.1", enterprises + "318.1.3.4.2"}, Index: IndexOutlet,
		Status: enterprises + "318.1.1.4.4.2.1.3", States: map[int]string{1: on, 2: off, 3: pending, 4: "unknown", 5: pending, 6: pending, 7: pending},
		On: Setting{enterprises + "318.1.1.4.4.2.1.3", 1}, Off: Setting{enterprises + "318.1.1.4.4.2.1.3", 2}, Reboot: Setting{enterprises + "318.1.1.4.4.2.1.3", 3},
	},
	{
		// Read in PDU2-MIB (Raritan): pdu2, outletSwitchingState (SensorStateEnumeration),
		// switchingOperation (OutletSwitchingOperationsEnumeration); index pduId, which is
		// always 1 for PX2 and PX3, and outletId. The same by NUT (raritan-px2-mib.c).
		Name: "raritan_px2", Models: []string{enterprises + "13742.6"}, Index: IndexGroup, Group: 1,
		Status: enterprises + "13742.6.4.1.2.1.3", States: map[int]string{-1: "unavailable", 7: on, 8: off},
		On: Setting{enterprises + "13742.6.4.1.2.1.2", 1}, Off: Setting{enterprises + "13742.6.4.1.2.1.2", 0}, Reboot: Setting{enterprises + "13742.6.4.1.2.1.2", 2},
	},
	{
		// Read in EATON-EPDU-MIB: outletControlStatus, and a column for each command
		// whose value is a delay in seconds (outletControlOffCmd is 3, -OnCmd 4,
		// -RebootCmd 5; ironic has off and on the wrong way round); index strappingIndex
		// (0 without daisy chain) and outlet. An Eaton ePDU MA says this sysObjectID. The
		// older ones below 534.6.6.6 have another MIB.
		Name: "eaton_epdu", Models: []string{enterprises + "534.6.6.7"}, Index: IndexGroup,
		Status: enterprises + "534.6.6.7.6.6.1.2", States: map[int]string{0: off, 1: on, 2: pending, 3: pending},
		On: Setting{enterprises + "534.6.6.7.6.6.1.4", 0}, Off: Setting{enterprises + "534.6.6.7.6.6.1.3", 0}, Reboot: Setting{enterprises + "534.6.6.7.6.6.1.5", 0},
	},
	{
		// Read in CPS-MIB (CyberPower): ePDUOutletStatusOutletState and
		// ePDUOutletControlOutletCommand (immediateOn, -Off, -Reboot). The same by ironic
		// (SNMPDriverCyberPower) and centreon-plugins. A CyberPower management card says
		// this sysObjectID; those with the newer ePDU2 tables are not these.
		Name: "cyberpower", Models: []string{enterprises + "3808.1.1.3"}, Index: IndexOutlet,
		Status: enterprises + "3808.1.1.3.3.5.1.1.4", States: map[int]string{1: on, 2: off},
		On: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 1}, Off: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 2}, Reboot: Setting{enterprises + "3808.1.1.3.3.3.1.1.4", 3},
	},
	{
		// Read in TRIPPLITE-PRODUCTS (June 2019): tlpPduOutletState, tlpPduOutletCommand
		// (turnOff, turnOn, cycle); index tlpDeviceIndex (1) and outlet. The sysObjectID
		// is by fence_tripplite_snmp (WEBCARDLX, tried by its authors on a PDU15NETLX).
		Name: "tripplite", Models: []string{enterprises + "850.1.1.1"}, Index: IndexGroup, Group: 1,
		Status: enterprises + "850.1.1.3.2.3.3.1.1.4", States: map[int]string{0: "unknown", 1: off, 2: on},
		On: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 2}, Off: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 1}, Reboot: Setting{enterprises + "850.1.1.3.2.3.3.1.1.6", 3},
	},
	{
		// Tripp Lite's older cards by fence_tripplite_snmp (tried by its authors on a
		// PDUMH20HVNET); index device (1) and outlet. The MIB of today (TRIPPLITE-12X)
		// has this table no more, so that nobody says what its cycle would be.
		Name: "tripplite_old", Models: []string{enterprises + "850.1"}, Index: IndexGroup, Group: 1,
		Status: enterprises + "850.10.2.3.5.1.2", States: map[int]string{1: off, 2: on},
		On: Setting{enterprises + "850.10.2.3.5.1.4", 2}, Off: Setting{enterprises + "850.10.2.3.5.1.4", 1},
	},
	{
		// Read in POWER-ETHERNET-MIB (RFC 3621): pethPsePortAdminEnable, a TruthValue
		// (RFC 2579); index group (1 where there is one) and port. Any vendor's switch
		// has it, so that no sysObjectID says it.
		Name: "poe", Index: IndexGroup, Group: 1,
		Status: ".1.3.6.1.2.1.105.1.1.1.3", States: map[int]string{1: on, 2: off},
		On: Setting{".1.3.6.1.2.1.105.1.1.1.3", 1}, Off: Setting{".1.3.6.1.2.1.105.1.1.1.3", 2},
	},
}
