package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// TestFilesAreAnInventory reads the files as roller does.
func TestFilesAreAnInventory(t *testing.T) {
	t.Parallel()
	l := startLab(t,
		Spec{WorkerID: "MS1-10", SSHBootID: true, ILO: true, Moonshot: true},
		Spec{WorkerID: "ms1-11"},
		Spec{WorkerID: "bare", NoSSH: true, NoBMC: true, NoOutlet: true})
	env, err := l.WriteFiles(t.TempDir())
	require.NoError(t, err)
	inventory, err := config.LoadInventory(config.Files{
		SSH: env["FQDN_TO_SSH_FILE"], IPMI: env["FQDN_TO_IPMI_FILE"], PDU: env["FQDN_TO_PDU_FILE"],
		Xen: env["FQDN_TO_XEN_FILE"], ILO: env["FQDN_TO_ILO_FILE"], Moonshot: env["FQDN_TO_MOONSHOT_FILE"],
		FQDNTemplates: []string{"{worker_id}.test.releng.{worker_group}.mozilla.com"},
	})
	require.NoError(t, err)
	require.Len(t, inventory.Machines(), 3)

	m, found := l.Machine("ms1-10"), func(id string) config.Machine {
		found, err := inventory.Resolve(id, "mdc1")
		require.NoError(t, err)
		return found
	}
	full := found("ms1-10")
	require.Equal(t, []string{m.FQDN(), m.Addr(), "tcp:2022"}, []string{full.FQDN, full.Addr, full.Probe.String()})
	require.Equal(t, []any{SSHUser, SSHPort, true}, []any{full.SSH.User, full.SSH.Port, full.SSH.BootID})
	require.Equal(t, hostPort(m.Addr(), BMCPort), full.IPMI.Addr())
	require.Equal(t, BMCPassword, full.IPMI.Password.Reveal())
	require.Len(t, full.Outlets, 1)
	require.Equal(t, hostPort(m.PDUAddr(), PDUPort), full.Outlets[0].Addr())
	require.Equal(t, m.Outlet(), full.Outlets[0].String())
	require.False(t, found("ms1-11").SSH.BootID)
	pin := config.FingerprintOf(m.Certificate())
	require.Equal(t, []any{hostPort(m.Addr(), WebPort), BMCUser, pin}, []any{full.ILO.Addr(), full.ILO.User, full.ILO.Fingerprint})
	require.Equal(t, []any{hostPort(m.Addr(), WebPort), MoonshotNode, pin}, []any{full.Moonshot.Addr(), full.Moonshot.Node, full.Moonshot.Fingerprint})
	require.Nil(t, l.Machine("ms1-11").Certificate())

	bare := found("bare")
	require.Equal(t, []string{l.Machine("bare").Addr(), "tcp:2022"}, []string{bare.Addr, bare.Probe.String()})
	require.Nil(t, bare.SSH)
	require.Nil(t, bare.IPMI)
	require.Empty(t, bare.Outlets)
}
