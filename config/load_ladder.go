package config

import (
	"fmt"
	"slices"
	"time"
)

// defaultMethods is the later code's ladder.
const defaultMethods = "ssh_reboot,ipmi_reset,ipmi_cycle,snmp_reboot,file_bugzilla_bug"

// maxSlots is far above any fleet: each slot in use costs one goroutine or two.
const maxSlots = 1_000_000

// maxInterval bounds the time between two turns at a device: with more, a rack
// would never be done.
const maxInterval = time.Minute

// LongestOff is how long the activity that powers a machine off may live: the
// restore of a lost run reads the outlet once more after it.
const LongestOff = Duration(10 * time.Minute)

func (e *environ) ladder() Ladder {
	l := Ladder{
		Methods:       e.subset("REBOOT_METHODS", defaultMethods, Rungs()),
		DownTimeout:   e.duration("DOWN_TIMEOUT", 60*time.Second, 10*time.Millisecond),
		UpTimeout:     e.duration("UP_TIMEOUT", 300*time.Second, 10*time.Millisecond),
		RungRetry:     e.duration("RUNG_RETRY", 60*time.Second, 0),
		OffDelay:      e.duration("OFF_DELAY", 5*time.Second, 0),
		PDUDelay:      e.duration("SNMP_REBOOT_DELAY", 60*time.Second, 0),
		OnAlarm:       e.duration("ON_ALARM", 5*time.Minute, 10*time.Millisecond),
		OnRetry:       e.duration("ON_RETRY", 5*time.Minute, 10*time.Millisecond),
		OnLimit:       e.duration("ON_LIMIT", 24*time.Hour, 10*time.Millisecond),
		BugWait:       e.duration("BUG_WAIT", 20*time.Second, 0),
		BugRetry:      e.duration("BUG_RETRY", 10*time.Minute, 10*time.Millisecond),
		BugLimit:      e.duration("BUG_LIMIT", 24*time.Hour, 10*time.Millisecond),
		ProbeInterval: e.duration("PROBE_INTERVAL", time.Second, 10*time.Millisecond),
		ProbeTimeout:  e.duration("PROBE_TIMEOUT", 2*time.Second, 10*time.Millisecond),
		// One lost packet is not "down", so one probe cannot be enough.
		DownProbes:    e.number("DOWN_PROBES", 3, 2, 100),
		CommandTime:   e.duration("COMMAND_TIMEOUT", 3*time.Minute, time.Second),
		RetryInterval: e.duration("RETRY_INTERVAL", 5*time.Second, 100*time.Millisecond),
		LastLook:      e.duration("LAST_LOOK", 15*time.Second, time.Second),
		Reimage:       e.duration("REIMAGE_TIMEOUT", 2*time.Hour, time.Second),
		ReimageSettle: e.duration("REIMAGE_SETTLE", 2*time.Minute, 0),
		StopTimeout:   e.duration("WORKER_STOP_TIMEOUT", 90*time.Second, time.Second),
		// Below that the server drowns in heartbeats of a fleet's waits.
		Heartbeat:    e.duration("HEARTBEAT_TIMEOUT", 60*time.Second, 10*time.Second),
		TurnWait:     e.duration("TURN_WAIT", 60*time.Second, time.Second),
		TurnLimit:    e.duration("TURN_LIMIT", time.Hour, time.Second),
		CommandSlots: e.number("COMMAND_SLOTS", 5000, 1, maxSlots),
		WatchSlots:   e.number("WATCH_SLOTS", 20_000, 1, maxSlots),
		// Temporal's SDK wants two of each at least: one is for jobs that are in memory.
		WorkflowSlots: e.number("WORKFLOW_SLOTS", 200, 2, maxSlots),
		WorkflowCache: e.number("WORKFLOW_CACHE", 1000, 1, maxSlots),
		Pollers:       e.number("POLLERS", 4, 2, 100),
	}
	e.relations(l)
	return l
}

// relations checks the times against one another.
func (e *environ) relations(l Ladder) {
	if i := slices.Index(l.Methods, bugRung); i >= 0 && i < len(l.Methods)-1 {
		e.wrong("REBOOT_METHODS", bugRung, "may stand only at the end: no rung is tried once people have been told")
	}
	if least := Duration(l.DownProbes) * l.ProbeInterval; l.DownTimeout > 0 && l.DownTimeout <= least {
		e.wrong("DOWN_TIMEOUT", l.DownTimeout.String(), fmt.Sprintf("must be more than DOWN_PROBES x PROBE_INTERVAL (%s), or no machine is ever seen down", least))
	}
	if l.DownTimeout+l.CommandTime+l.TurnWait > LongestOff {
		e.wrong("COMMAND_TIMEOUT", l.CommandTime.String(), fmt.Sprintf("must be at most %s together with DOWN_TIMEOUT and TURN_WAIT: by then an off must be known to have been sent or not", LongestOff))
	}
	if l.OnAlarm > l.OnLimit {
		e.wrong("ON_ALARM", l.OnAlarm.String(), fmt.Sprintf("must not be more than ON_LIMIT (%s)", l.OnLimit))
	}
	if l.ReimageSettle >= l.Reimage {
		e.wrong("REIMAGE_SETTLE", l.ReimageSettle.String(), fmt.Sprintf("must be less than REIMAGE_TIMEOUT (%s)", l.Reimage))
	}
	if l.BugWait > l.BugLimit {
		e.wrong("BUG_WAIT", l.BugWait.String(), fmt.Sprintf("must not be more than BUG_LIMIT (%s)", l.BugLimit))
	}
}

func (e *environ) devices() Devices {
	return Devices{
		DeviceInterval: e.interval("DEVICE_INTERVAL", time.Second),
		// OpenStack Ironic's [ipmi]min_command_interval: some BMCs crash when they are
		// spoken to more often. A chassis manager is a controller of the same kind.
		BMCInterval:     e.interval("BMC_INTERVAL", 5*time.Second),
		ChassisInterval: e.interval("CHASSIS_INTERVAL", 5*time.Second),

		SSHTimeout:     e.duration("SSH_TIMEOUT", 5*time.Second, 100*time.Millisecond),
		KnownHostsFile: e.text("SSH_KNOWN_HOSTS_FILE", "known_hosts"),
		HostKeys:       e.oneOf("SSH_HOST_KEYS", HostKeysStrict, HostKeysStrict, HostKeysAcceptNew),
		SSHAgent:       e.text("SSH_AUTH_SOCK", ""),
		IPMITimeout:    e.duration("IPMI_TIMEOUT", 20*time.Second, 100*time.Millisecond),
		IPMISession:    e.duration("IPMI_SESSION_TIMEOUT", 15*time.Second, 100*time.Millisecond),
		IPMIStatusWait: e.duration("IPMI_POWER_STATUS_WAIT", 120*time.Second, 100*time.Millisecond),
		IPMIStatusPoll: e.duration("IPMI_POWER_STATUS_INTERVAL", 15*time.Second, 10*time.Millisecond),
		// Chassis Control asks for Operator (IPMI v2.0, appendix G).
		IPMIPrivilege: e.oneOf("IPMI_PRIVILEGE", "OPERATOR", "CALLBACK", "USER", "OPERATOR", "ADMINISTRATOR"),
		SNMPTimeout:   e.duration("SNMP_TIMEOUT", 10*time.Second, 100*time.Millisecond),
		SNMPCommunity: e.secret("SNMP_COMMUNITY"),
		SNMPv3:        e.snmpUser(),
		SNMPVerify:    e.duration("SNMP_VERIFY_TIMEOUT", 30*time.Second, 100*time.Millisecond),
		XenURL:        e.url("XEN_URL", ""),
		XenUsername:   e.text("XEN_USERNAME", ""),
		XenPassword:   e.secret("XEN_PASSWORD"),
		XenCAFile:     e.text("XEN_CA_FILE", ""),
		XenTimeout:    e.duration("XEN_TIMEOUT", 10*time.Second, 100*time.Millisecond),
		XenShutdown:   e.duration("XEN_SHUTDOWN_TIMEOUT", 60*time.Second, 100*time.Millisecond),
		ILOUsername:   e.text("ILO_USERNAME", ""),
		ILOPassword:   e.secret("ILO_PASSWORD"),
		ILOTimeout:    e.duration("ILO_TIMEOUT", 30*time.Second, 100*time.Millisecond),
		ILOVerify:     e.duration("ILO_VERIFY_TIMEOUT", 60*time.Second, 100*time.Millisecond),
		ILOCAFile:     e.text("ILO_CA_FILE", ""),
		StatusTimeout: e.duration("STATUS_TIMEOUT", 20*time.Second, 100*time.Millisecond),
	}
}

// interval returns the least time between two turns at a device; it may be none.
func (e *environ) interval(name string, otherwise time.Duration) Duration {
	d := e.duration(name, otherwise, 0)
	if d.D() > maxInterval {
		e.wrong(name, d.String(), "must be "+maxInterval.String()+" or less")
	}
	return d
}
