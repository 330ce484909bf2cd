package activities

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab"
)

// twoFeeds is a machine on PDUs of two families, whose numbers for off differ.
func twoFeeds(t *testing.T) (*rig, config.Machine) {
	t.Helper()
	r := newRig(t, lab.Spec{NoBMC: true, PDUModel: "apc_rpdu2", SecondPDU: "raritan_px2"})
	r.Config.Devices.SNMPTimeout = config.Duration(time.Second)
	r.Config.Devices.SNMPVerify = config.Duration(2 * time.Second)
	m := r.entry(t)
	require.Len(t, m.Outlets, 2)
	return r, m
}

// told is the commands that reached the PDUs, without the PDUs' names.
func (r *rig) told() []string {
	var out []string
	for _, e := range r.lab.Controls("") {
		_, words, _ := strings.Cut(e.Command, " ")
		out = append(out, words)
	}
	return out
}

// A machine is off only when all its outlets are, and on powers them all.
func TestSNMPTwoPDUs(t *testing.T) {
	t.Parallel()
	r, m := twoFeeds(t)
	asked := 0
	_, err := r.snmpSet(t.Context(), m, Off, func() error {
		if asked++; asked == 2 { // between the two
			require.NoError(t, r.lab.Wait(t.Context(), func() bool {
				power, err := r.snmpPower(t.Context(), m)
				return err == nil && power == "off+on"
			}))
			require.True(t, r.machine.State().Power, "one outlet is enough")
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, asked, "the fence is asked before each")
	require.NoError(t, r.lab.Wait(t.Context(), func() bool { return !r.machine.State().Power }))
	for _, action := range []Action{On, Off, Off, On, On} {
		res, err := execute(t, r.SNMPOutlet, r.command(action, 0), call{})
		require.NoError(t, err)
		require.Equal(t, string(action), res.Power)
		require.Empty(t, res.Unknown)
		require.Equal(t, action == On, r.machine.State().Power)
	}
	require.Equal(t, []string{"1 off", "1 off", "1 on", "1 on", "1 off", "1 off", "1 on", "1 on"}, r.told(), "each once")
}

// One PDU dies between the two: the machine runs on, nobody calls it off, and
// what was switched is said. On then gives power by the one that answers, and is
// not content before the other has, too.
func TestSNMPPDUDiesInMidSwitch(t *testing.T) {
	t.Parallel()
	r, m := twoFeeds(t)
	asked := 0
	what, err := r.snmpSet(t.Context(), m, Off, func() error {
		if asked++; asked == 2 {
			r.machine.SetFaults(lab.Faults{SecondPDUDead: true})
		}
		return nil
	})
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.Equal(t, m.Outlets[0].String()+" off, "+m.Outlets[1].String()+" off", what)
	require.Equal(t, []string{"1 off"}, r.told())
	require.NoError(t, r.lab.Wait(t.Context(), func() bool {
		power, err := r.snmpPower(t.Context(), m)
		return err == nil && power == "off+no answer"
	}))
	require.True(t, r.machine.State().Power)

	_, err = r.snmpSet(t.Context(), m, Off, allowed)
	require.Equal(t, NotSent, MeaningOf(err), "off begins only where all PDUs answer: %v", err)
	require.Equal(t, []string{"1 off"}, r.told())

	res, err := execute(t, r.SNMPOutlet, r.command(On, 0), call{})
	require.Contains(t, requireMeaning(t, err, Unknown, true), "after "+m.Outlets[0].String()+" on: snmp "+m.Outlets[1].String())
	require.Empty(t, res.Power)
	require.Equal(t, []string{"1 off", "1 on"}, r.told())

	r.machine.SetFaults(lab.Faults{})
	res, err = execute(t, r.SNMPOutlet, r.command(On, 0), call{})
	require.NoError(t, err)
	require.Equal(t, "on", res.Power)
	require.Equal(t, []string{"1 off", "1 on"}, r.told(), "the second outlet never went off")
}

// With one PDU dead and both outlets off, on gives the machine its power at once.
func TestSNMPOnByThePDUThatAnswers(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]lab.Faults{"first dead": {PDUDead: true}, "second dead": {SecondPDUDead: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := twoFeeds(t)
			_, err := execute(t, r.SNMPOutlet, r.command(Off, 0), call{})
			require.NoError(t, err)
			require.False(t, r.machine.State().Power)
			r.machine.SetFaults(dead)
			_, err = execute(t, r.SNMPOutlet, r.command(On, 0), call{})
			requireMeaning(t, err, Unknown, true)
			require.NoError(t, r.lab.Wait(t.Context(), func() bool { return r.machine.State().Power }))
			r.machine.SetFaults(lab.Faults{})
			res, err := execute(t, r.SNMPOutlet, r.command(On, 0), call{})
			require.NoError(t, err)
			require.Equal(t, "on", res.Power)
			require.Equal(t, []string{"1 off", "1 off", "1 on", "1 on"}, r.told())
		})
	}
}

// Off goes no further than the first outlet of which it is not known to be off.
func TestSNMPOffEndsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	r, m := twoFeeds(t)
	r.machine.SetFaults(lab.Faults{LoseCommandReply: true})
	what, err := r.snmpSet(t.Context(), m, Off, allowed)
	require.Equal(t, Unknown, MeaningOf(err), "%v", err)
	require.Equal(t, m.Outlets[0].String()+" off", what)
	require.Equal(t, []string{"1 off"}, r.told())
}

// Where every PDU is silent nothing is known.
func TestSNMPPowerOfSilentPDUs(t *testing.T) {
	t.Parallel()
	r, m := twoFeeds(t)
	r.machine.SetFaults(lab.Faults{PDUDead: true, SecondPDUDead: true})
	for _, action := range []Action{Off, On} {
		_, err := r.snmpSet(t.Context(), m, action, allowed)
		require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	}
	_, err := r.snmpPower(t.Context(), m)
	require.Equal(t, NotSent, MeaningOf(err), "%v", err)
	require.Empty(t, r.told())
}
