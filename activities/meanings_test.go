package activities

import (
	"context"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// The five ways in which every dialogue with a device can fail.
const (
	badCredentials = "refused credentials"
	unreachable    = "unreachable"
	timeoutBefore  = "timeout before sending" // the peer is there, and falls silent before the command
	lostReply      = "lost reply after sending"
	garbageReply   = "garbage reply" // to the command, which was carried out
)

// trial is one dialogue failing in one way: what became of it, and how many
// commands (or bugs) had arrived at the peer by then.
type trial func(t *testing.T) (arrived int, err error)

// dialogue is one way of speaking to a device. Its peer speaks the protocol on
// loopback; only ipmitool's stands in for the program.
type dialogue struct {
	activity string // the activities that speak so
	trials   map[string]trial
	// differs are the meanings that are not those of meant, and why has the reason.
	differs map[string]Meaning
	why     string
}

// meant is what each failure means, and how many commands have arrived.
var meant = map[string]struct {
	meaning Meaning
	arrived int
}{
	badCredentials: {Refused, 0},
	unreachable:    {NotSent, 0},
	timeoutBefore:  {NotSent, 0},
	lostReply:      {Unknown, 1},
	garbageReply:   {Unknown, 1},
}

// dialogues is the table: every protocol, each with its five.
var dialogues = map[string]dialogue{
	"ssh":                {activity: "SSHReboot", trials: sshTrials},
	"ipmi":               {activity: "IPMIPower", trials: ipmiTrials(func(r *rig) sender { return withAction(r.ipmiControl, Reset) })},
	"ipmi_reboot":        {activity: "IPMIReboot", trials: ipmiTrials(func(r *rig) sender { return r.ipmiShutdown })},
	"reimage by ipmi":    {activity: "Reimage", trials: ipmiTrials(booting(Target{}))},
	"reimage by redfish": {activity: "Reimage", trials: webTrials(booting(Target{ILO: &TargetILO{}}))},
	"ipmitool":           {activity: "IPMIPower", trials: toolTrials},
	"redfish":            {activity: "RedfishReset", trials: webTrials(func(r *rig) sender { return withAction(r.redfishSend, Reset) })},
	"moonshot":           {activity: "MoonshotReset", trials: webTrials(func(r *rig) sender { return withAction(r.moonshotSend, Reset) })},
	"xenapi":             {activity: "XenPower", trials: xenTrials},
	"snmp v1": {
		activity: "SNMPOutlet", trials: snmpTrials("1"), differs: map[string]Meaning{badCredentials: NotSent},
		why: "an agent is silent about a wrong community (RFC 1157, 4.1), as one that is not there",
	},
	"snmp v2c": {
		activity: "SNMPOutlet", trials: snmpTrials("2c"), differs: map[string]Meaning{badCredentials: NotSent},
		why: "an agent is silent about a wrong community, as one that is not there",
	},
	"snmp v3": {activity: "SNMPOutlet", trials: snmpTrials("3")},
	"bugzilla": {
		activity: "BugzillaFile", trials: bugzillaTrials, differs: map[string]Meaning{lostReply: NotSent, garbageReply: NotSent},
		why: "a repeat looks for the bug first, so that a lost answer is found and not doubled",
	},
}

// TestMeanings has every dialogue fail in each of the five ways.
func TestMeanings(t *testing.T) { //nolint:paralleltest // PATH, for ipmitool's
	for protocol, d := range dialogues {
		for failure, run := range d.trials {
			t.Run(protocol+"/"+failure, func(t *testing.T) {
				if protocol != "ipmitool" {
					t.Parallel()
				}
				want := meant[failure].meaning
				if m, ok := d.differs[failure]; ok {
					want = m
				}
				arrived, err := run(t)
				require.Error(t, err)
				require.Equal(t, want, MeaningOf(err), "%v", err)
				require.Equal(t, meant[failure].arrived, arrived, "%v", err)
				require.NotContains(t, err.Error(), "s3cret")
			})
		}
	}
}

// TestEveryDialogueHasItsFive fails where a protocol lacks one of the five, where
// an activity that acts has no dialogue, and where a difference has no reason.
func TestEveryDialogueHasItsFive(t *testing.T) {
	t.Parallel()
	five := []string{badCredentials, garbageReply, lostReply, timeoutBefore, unreachable}
	var spoken []string
	for protocol, d := range dialogues {
		var has []string
		for failure := range d.trials {
			has = append(has, failure)
		}
		require.ElementsMatch(t, five, has, protocol)
		require.Equal(t, len(d.differs) > 0, d.why != "", protocol)
		_, exists := reflect.TypeFor[*Activities]().MethodByName(d.activity)
		require.True(t, exists, "%s: no activity is called %q", protocol, d.activity)
		spoken = append(spoken, d.activity)
	}
	acts := reflect.TypeFor[func(*Activities, context.Context, Command) (CommandResult, error)]()
	for m := range reflect.TypeFor[*Activities]().Methods() {
		if m.Type == acts {
			require.Contains(t, spoken, m.Name, "an activity that acts, and no dialogue of it")
		}
	}
}
