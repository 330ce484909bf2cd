package activities

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// bootParam is what ipmitool 1.8.19 prints.
func bootParam(valid, apply, device string) string {
	return `Boot parameter version: 1
Boot parameter 5 is valid/unlocked
Boot parameter data: 8004000000
 Boot Flags :
   - Boot Flag ` + valid + `
   - Options apply to ` + apply + `
   - BIOS PC Compatible (legacy) boot 
   - Boot Device Selector : ` + device + `
   - BIOS verbosity : System Default
`
}

const (
	askBoot = "chassis_bootparam_get_5"
	once    = "only next boot"
)

// A Moonshot node: every word goes by ipmitool, behind both bridges.
func TestBridgedNetboot(t *testing.T) { //nolint:paralleltest // PATH
	for name, efi := range map[string]bool{"chassis bootdev pxe": false, "chassis bootdev pxe options=efiboot": true} {
		f := newFake(t)
		r, m := blade(t)
		m.IPMI.EFI = efi
		f.says(askBoot, bootParam("Valid", once, "Force PXE"))
		f.says(strings.ReplaceAll(name, " ", "_"), "Set Boot Device to pxe\n")
		f.says("chassis_power_cycle", "Chassis Power Control: Cycle\n")
		what, wrote, err := r.netbooterOf(Target{}).boot(t.Context(), m, allowed)
		require.NoError(t, err)
		require.True(t, wrote)
		require.Equal(t, "network boot once (reads Force PXE), chassis power cycle", what)
		require.Equal(t, 1, f.sent(name))
		require.Equal(t, 1, f.sent("chassis power cycle"))
		require.NotContains(t, f.read("argv"), "s3cret")

		f.says("chassis_bootdev_none", "Set Boot Device to none\n")
		found, err := r.netbooterOf(Target{}).unset(t.Context(), m)
		require.NoError(t, err)
		require.Equal(t, NetbootCleared{Was: NetbootSet, Cleared: true}, found)
		require.Equal(t, 1, f.sent("chassis bootdev none"))
	}
}

func TestBridgedOverride(t *testing.T) { //nolint:paralleltest // PATH
	for name, c := range map[string]struct {
		out, err string
		want     override
		meaning  Meaning
	}{
		"set":     {out: bootParam("Valid", once, "Force PXE"), want: override{Told: true, Network: true, Once: true, Heeded: true, Said: "Force PXE"}},
		"used":    {out: bootParam("Invalid", once, "Force PXE"), want: override{Told: true, Network: true, Once: true, Said: "Force PXE"}},
		"none":    {out: bootParam("Invalid", once, "No override"), want: override{Told: true, Once: true, Said: "No override"}},
		"forever": {out: bootParam("Valid", "all future boots", "Force PXE"), want: override{Told: true, Network: true, Heeded: true, Said: "Force PXE, for all boots"}},
		"untold":  {err: "Get Chassis Boot Parameter 5 failed: Invalid command\n"},
		"garbage": {out: "\x00{{", meaning: NotSent},
		"silent":  {err: "Error: Unable to establish IPMI v2 / RMCP+ session\n", meaning: NotSent},
		"refused": {err: "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n", meaning: Refused},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			r, m := blade(t)
			if c.out != "" {
				f.says(askBoot, c.out)
			}
			f.says(askBoot+".err", c.err)
			o, err := r.toolOverride(t.Context(), m)
			require.Equal(t, c.want, o)
			if c.meaning == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// The worker file's and ipmi.json's "efi" is the boot type of the flags.
func TestNetbootTargetKeepsTheMachinesOwnEntry(t *testing.T) {
	t.Parallel()
	m := config.Machine{IPMI: &config.IPMI{Host: "chassis", Port: 623, EFI: true, Bridge: []string{"-T", "0x94"}}}
	other := config.Machine{IPMI: &config.IPMI{Host: "chassis", Port: 623, Bridge: []string{"-T", "0x82"}}}
	target := netbootTarget(config.Devices{}, m)
	require.NoError(t, target.put(config.NewInventory(other, m), &m))
	require.True(t, m.IPMI.EFI)
	require.Equal(t, []string{"-T", "0x94"}, m.IPMI.Bridge)
}
