package activities

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/mozilla-platform-ops/roller/config"
)

func jumpTo(p, bastion *sshPeer) *config.Jump {
	return &config.Jump{User: "hopper", Host: bastion.Addr, Port: bastion.SSH.Port, KeyFile: p.SSH.KeyFile}
}

// throughBastion puts a bastion before a peer and returns its known_hosts line.
func throughBastion(t *testing.T, r *rig, p *sshPeer) string {
	t.Helper()
	bastion := newSSHPeer(t, r, shape{})
	bastion.FQDN = bastion.Addr
	p.SSH.Jump = jumpTo(p, bastion)
	return bastion.known()
}

func TestSSHByABastion(t *testing.T) {
	t.Parallel()
	r := newSSHRig(t)
	users := make(chan string, 9)
	p := newSSHPeer(t, r, shape{})
	p.SSH.BootID = true
	bastion := newSSHPeer(t, r, shape{took: func(c *ssh.ServerConn) bool {
		users <- c.User()
		return true
	}})
	bastion.FQDN = bastion.Addr
	p.SSH.Jump = jumpTo(p, bastion)
	r.knows(t, p.known(), bastion.known())

	sent, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
	require.NoError(t, err)
	require.Equal(t, "reboot", sent)
	require.Equal(t, "boot-1", r.bootID(t.Context(), p.Machine, nil))
	require.True(t, r.sshBanner(t.Context(), p.Machine))
	require.Nil(t, r.hold(t.Context(), p.Machine), "the bastion's kernel would answer for it")
	require.Equal(t, []string{"reboot", "boot_id"}, p.commands())
	require.Equal(t, []string{sshAddr(p.Machine), sshAddr(p.Machine), sshAddr(p.Machine)}, bastion.forwarded())
	require.Len(t, users, 3)
	require.Equal(t, "hopper", <-users)
	require.Empty(t, bastion.commands())
}

func TestSSHBastionRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func(t *testing.T, r *rig, p, bastion *sshPeer)
		meaning Meaning
		says    string
	}{
		"unknown bastion": {func(t *testing.T, r *rig, p, _ *sshPeer) { r.knows(t, p.known()) }, Refused, "is unknown"},
		"bastion with another key": {func(t *testing.T, r *rig, p, b *sshPeer) {
			r.knows(t, p.known(), knownLine(b.Machine, signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey()))
		}, Refused, "is not the one"},
		"machine with another key": {func(t *testing.T, r *rig, p, b *sshPeer) {
			r.knows(t, knownLine(p.Machine, signerOf(t, newKey(t, ssh.KeyAlgoED25519)).PublicKey()), b.known())
		}, Refused, "is not the one"},
		"bastion not there": {func(t *testing.T, r *rig, p, b *sshPeer) {
			b.SSH.Port = 1
			p.SSH.Jump.Port = 1
			r.knows(t, p.known(), b.known())
		}, NotSent, "connection refused"},
		"machine not there": {func(t *testing.T, r *rig, p, b *sshPeer) {
			p.SSH.Port = 1
			r.knows(t, p.known(), b.known())
		}, NotSent, "Connection refused"},
		"no key for the bastion": {func(_ *testing.T, _ *rig, p, _ *sshPeer) { p.SSH.Jump.KeyFile += "-none" }, Refused, "read the private key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSSHRig(t)
			p, bastion := newSSHPeer(t, r, shape{}), newSSHPeer(t, r, shape{})
			bastion.FQDN = bastion.Addr
			p.SSH.Jump = jumpTo(p, bastion)
			r.knows(t, p.known(), bastion.known())
			c.spoil(t, r, p, bastion)
			_, err := r.sshReboot(t.Context(), p.Machine, Reboot, always)
			require.Error(t, err)
			require.Contains(t, err.Error(), c.says)
			require.Equal(t, c.meaning, MeaningOf(err), "%v", err)
			require.Empty(t, p.commands())
		})
	}
}
