package lab

import "fmt"

// pduModel is what a family of PDUs shows over SNMP. The numbers are written
// down from the MIBs here and not taken from package config, so that one wrong
// number does not agree with itself.
type pduModel struct {
	descr    string
	objectID string // sysObjectID
	name     string // of an outlet, with its number
	index    string // of its row, with its number
	columns  []pduColumn
}

// pduColumn is one column of the outlets' table.
type pduColumn struct {
	oid     string
	name    string
	read    func(*outlet) int
	actions map[int]int // values that may be set, and what they do; nil: read only
}

// defaultModel is the fleet's own.
const defaultModel = "sentry3"

// commands are the values of columns that take on, off and reboot in one.
func commands(on, off, reboot int) map[int]int {
	return map[int]int{on: actionOn, off: actionOff, reboot: actionReboot}
}

// shows makes a status column's reading of its two values.
func shows(on, off int) func(*outlet) int {
	return func(o *outlet) int {
		if o.status() == statusOn {
			return on
		}
		return off
	}
}

func always(value int) func(*outlet) int { return func(*outlet) int { return value } }

const pethPsePort = ".1.3.6.1.2.1.105.1.1.1" // RFC 3621, pethPsePortEntry

// pduModels are the families by the names of roller's profiles.
var pduModels = map[string]*pduModel{
	"sentry3": { // Sentry3-MIB, outletEntry
		descr: "Sentry Switched CDU (simulated)", objectID: oidSentry3, name: "AA%d", index: "1.1.%d",
		columns: []pduColumn{
			{fmt.Sprint(oidOutletEntry, ".", columnStatus), "status", (*outlet).status, nil},
			{fmt.Sprint(oidOutletEntry, ".", columnControl), "control", (*outlet).controlState, nil},
			{fmt.Sprint(oidOutletEntry, ".", columnAction), "action", always(actionNone), map[int]int{0: actionNone, 1: actionOn, 2: actionOff, 3: actionReboot}},
		},
	},
	"sentry4": { // Sentry4-MIB, st4OutletMonitorEntry and st4OutletControlEntry
		descr: "Sentry Switched PRO2 (simulated)", objectID: ".1.3.6.1.4.1.1718.4", name: "AA%d", index: "1.1.%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.1718.4.1.8.3.1.1", "status", shows(1, 2), nil},
			{".1.3.6.1.4.1.1718.4.1.8.5.1.2", "action", always(0), commands(1, 2, 3)},
		},
	},
	"apc_rpdu": { // PowerNet-MIB, rPDUOutletStatusEntry and rPDUOutletControlEntry
		descr: "APC Web/SNMP Management Card (simulated AP7921)", objectID: ".1.3.6.1.4.1.318.1.3.4.5", name: "%d", index: "%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.318.1.1.12.3.5.1.1.4", "status", shows(1, 2), nil},
			{".1.3.6.1.4.1.318.1.1.12.3.3.1.1.4", "command", shows(1, 2), commands(1, 2, 3)},
		},
	},
	"apc_rpdu2": { // PowerNet-MIB, rPDU2OutletSwitchedStatusEntry and -ControlEntry
		descr: "APC Web/SNMP Management Card (simulated AP8941)", objectID: ".1.3.6.1.4.1.318.1.3.4.6", name: "%d", index: "%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.318.1.1.26.9.2.3.1.5", "status", shows(2, 1), nil},
			{".1.3.6.1.4.1.318.1.1.26.9.2.4.1.5", "command", shows(1, 2), commands(1, 2, 3)},
		},
	},
	"apc_masterswitch": { // PowerNet-MIB, sPDUOutletControlEntry
		descr: "APC MasterSwitch (simulated AP9212)", objectID: ".1.3.6.1.4.1.318.1.3.4.1", name: "%d", index: "%d",
		columns: []pduColumn{{".1.3.6.1.4.1.318.1.1.4.4.2.1.3", "control", shows(1, 2), commands(1, 2, 3)}},
	},
	"raritan_px2": { // PDU2-MIB, outletSwitchControlEntry
		descr: "Raritan PX2 (simulated)", objectID: ".1.3.6.1.4.1.13742.6", name: "%d", index: "1.%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.13742.6.4.1.2.1.2", "operation", shows(1, 0), commands(1, 0, 2)},
			{".1.3.6.1.4.1.13742.6.4.1.2.1.3", "state", shows(7, 8), nil},
		},
	},
	"eaton_epdu": { // EATON-EPDU-MIB, outletControlEntry: the values are delays, -1 is "none pending"
		descr: "Eaton ePDU (simulated)", objectID: ".1.3.6.1.4.1.534.6.6.7", name: "%d", index: "0.%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.534.6.6.7.6.6.1.2", "status", shows(1, 0), nil},
			{".1.3.6.1.4.1.534.6.6.7.6.6.1.3", "off", always(-1), map[int]int{0: actionOff}},
			{".1.3.6.1.4.1.534.6.6.7.6.6.1.4", "on", always(-1), map[int]int{0: actionOn}},
			{".1.3.6.1.4.1.534.6.6.7.6.6.1.5", "reboot", always(-1), map[int]int{0: actionReboot}},
		},
	},
	"cyberpower": { // CPS-MIB, ePDUOutletStatusEntry and ePDUOutletControlEntry
		descr: "CyberPower PDU (simulated)", objectID: ".1.3.6.1.4.1.3808.1.1.3", name: "%d", index: "%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.3808.1.1.3.3.3.1.1.4", "command", shows(1, 2), commands(1, 2, 3)},
			{".1.3.6.1.4.1.3808.1.1.3.3.5.1.1.4", "status", shows(1, 2), nil},
		},
	},
	"tripplite": { // TRIPPLITE-PRODUCTS, tlpPduOutletEntry: its command reads 0 when idle
		descr: "Tripp Lite PDU (simulated)", objectID: ".1.3.6.1.4.1.850.1.1.1", name: "%d", index: "1.%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.4", "state", shows(2, 1), nil},
			{".1.3.6.1.4.1.850.1.1.3.2.3.3.1.1.6", "command", always(0), commands(2, 1, 3)},
		},
	},
	"tripplite_old": { // as fence_tripplite_snmp has it
		descr: "Tripp Lite PDU of old (simulated)", objectID: ".1.3.6.1.4.1.850.1", name: "%d", index: "1.%d",
		columns: []pduColumn{
			{".1.3.6.1.4.1.850.10.2.3.5.1.2", "state", shows(2, 1), nil},
			{".1.3.6.1.4.1.850.10.2.3.5.1.4", "command", shows(2, 1), map[int]int{2: actionOn, 1: actionOff}},
		},
	},
	"poe": { // POWER-ETHERNET-MIB, pethPsePortAdminEnable: true(1), false(2)
		descr: "PoE switch (simulated)", objectID: ".1.3.6.1.4.1.9.1.1208", name: "1.%d", index: "1.%d",
		columns: []pduColumn{{pethPsePort + ".3", "admin", shows(1, 2), map[int]int{1: actionOn, 2: actionOff}}},
	},
}
