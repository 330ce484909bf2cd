//go:build lab && linux

package netns

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/mozilla-platform-ops/roller/activities"
	"github.com/mozilla-platform-ops/roller/config"
	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
)

// sshWay is one machine and how it is reached; the fields are made by arrange.
type sshWay struct {
	known   string         // its line of known_hosts; "-" is none
	account map[string]any // changes to its ssh object
	host    string         // more of its sshd_config, in the place of the host key
	env     map[string]string
	refused string // what the error says, where it is not let in
}

// sshTry is what the child is to do, and its answer.
type sshTry struct {
	ID    string
	Env   map[string]string
	Sent  string
	Error string
}

const sshOrders = "ROLLER_NETNS_SSH"

// TestSSHWays reboots machines over each way in that OpenSSH knows, with keys
// and certificates made by ssh-keygen and an agent that is OpenSSH's.
func TestSSHWays(t *testing.T) {
	t.Parallel()
	opts := quick
	opts.IDs = []string{"agent", "bastion", "behind", "certificate", "changed", "ecdsa-host", "ecdsa-key", "expired", "host-certificate", "new", "rsa-host", "rsa-key", "unknown"}
	l := Start(t, opts)
	w := &sshWays{t: t, l: l, dir: t.TempDir(), ways: map[string]sshWay{}}
	w.arrange()
	results := w.run()
	for id, way := range w.ways {
		m, res := w.machine(id), results[id]
		if way.refused != "" {
			require.Contains(t, res.Error, way.refused, id)
			require.Empty(t, l.Controls(m.ID), id)
			continue
		}
		require.Empty(t, res.Error, id)
		require.Equal(t, "reboot", res.Sent, id)
		controls := l.Controls(m.ID)
		require.Len(t, controls, 1, id)
		edgeAfter(t, l, m, rig.Down, controls[0].At)
	}
	require.Equal(t, w.machine("bastion").Addr, l.Controls("behind")[0].From)
	require.Empty(t, l.Commands("bastion"), "nothing is asked of the bastion but to forward")
	text, err := os.ReadFile(filepath.Join(w.dir, "new", "known_hosts"))
	require.NoError(t, err)
	require.Contains(t, string(text), w.machine("new").FQDN+" ")
	_, err = tool(t, l, "ssh-keygen", "-F", w.machine("new").FQDN, "-f", filepath.Join(w.dir, "new", "known_hosts"))
	require.NoError(t, err, "OpenSSH finds what roller added")
}

type sshWays struct {
	t    *testing.T
	l    *Lab
	dir  string
	ways map[string]sshWay
}

func (w *sshWays) machine(id string) *Machine {
	return w.l.machines[slices.IndexFunc(w.l.machines, func(m *Machine) bool { return m.ID == id })]
}

func (w *sshWays) tool(name string, args ...string) {
	w.t.Helper()
	_, err := tool(w.t, w.l, name, args...)
	require.NoError(w.t, err)
}

// key makes a key pair by ssh-keygen and returns its file.
func (w *sshWays) key(name, kind string, options ...string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	w.tool("ssh-keygen", append([]string{"-q", "-t", kind, "-N", "", "-f", file}, options...)...)
	return file
}

func (w *sshWays) read(path string) string {
	w.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(w.t, err)
	return string(text)
}

// lets adds lines to a machine's authorized_keys, which sshd reads anew each time.
func (w *sshWays) lets(id, line string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.machine(id).rig.Dir, "authorized_keys"), []byte(line), 0o600))
}

func (w *sshWays) arrange() {
	w.keys()
	w.certificates()
	w.hosts()
	w.bastion()
	began := time.Now().Truncate(time.Millisecond)
	for id, way := range w.ways {
		if way.host == "" {
			continue
		}
		m := w.machine(id)
		file := filepath.Join(m.rig.Dir, "sshd_config")
		lines := way.host + "\nListenAddress " + m.Addr + "\nPort 22\nAuthorizedKeysFile " + m.rig.Dir + "/authorized_keys\nForceCommand " + m.rig.Program + " ssh " + m.rig.Dir +
			"\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\nUseDNS no\nPidFile none\n"
		require.NoError(w.t, os.WriteFile(file, []byte(lines), 0o600))
		_, err := m.rig.Reset()
		require.NoError(w.t, err)
	}
	for id, way := range w.ways {
		if way.host != "" {
			edgeAfter(w.t, w.l, w.machine(id), rig.Banner, began)
		}
	}
}

func (w *sshWays) keys() {
	for _, kind := range []string{"rsa", "ecdsa"} {
		file := w.key(kind+"-user", kind)
		w.lets(kind+"-key", w.read(file+".pub"))
		w.ways[kind+"-key"] = sshWay{account: map[string]any{"key_file": file}}
	}
	plain := w.key("agent-user", "ed25519")
	w.lets("agent", w.read(plain+".pub"))
	locked := filepath.Join(w.dir, "locked")
	require.NoError(w.t, os.WriteFile(locked, []byte(w.read(plain)), 0o600))
	w.tool("ssh-keygen", "-q", "-p", "-P", "", "-N", "s3cret words", "-f", locked)
	socket := filepath.Join(w.dir, "s")
	served := exec.CommandContext(w.t.Context(), "ssh-agent", "-D", "-a", socket)
	require.NoError(w.t, served.Start())
	w.t.Cleanup(func() { _ = served.Wait() }) // its context has ended it
	eventually(w.t, w.l, "the agent's socket", func() bool { _, err := os.Stat(socket); return err == nil })
	add := exec.CommandContext(w.t.Context(), "ssh-add", "-q", plain)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	said, err := add.CombinedOutput()
	require.NoError(w.t, err, "%s", said)
	w.ways["agent"] = sshWay{account: map[string]any{"key_file": locked}, env: map[string]string{"SSH_AUTH_SOCK": socket}}
}

func (w *sshWays) certificates() {
	ca := w.key("user-ca", "ecdsa")
	for id, when := range map[string]string{"certificate": "-5m:+1h", "expired": "20200101:20200102"} {
		file := w.key(id, "rsa")
		w.tool("ssh-keygen", "-q", "-s", ca, "-I", "roller", "-n", SSHUser, "-V", when, file+".pub")
		w.lets(id, "cert-authority "+w.read(ca+".pub"))
		w.ways[id] = sshWay{account: map[string]any{"key_file": file}}
	}
	way := w.ways["expired"]
	way.refused = "has expired"
	w.ways["expired"] = way
}

func (w *sshWays) hosts() {
	for _, kind := range []string{"rsa", "ecdsa"} {
		id := kind + "-host"
		file := w.key(id, kind)
		w.ways[id] = sshWay{host: "HostKey " + file, known: w.machine(id).FQDN + " " + w.read(file+".pub")}
	}
	m, ca := w.machine("host-certificate"), w.key("host-ca", "ed25519")
	file := w.key("host-cert", "ed25519")
	w.tool("ssh-keygen", "-q", "-s", ca, "-I", "host", "-h", "-n", m.FQDN, "-V", "-5m:+1h", file+".pub")
	w.ways["host-certificate"] = sshWay{
		host:  "HostKey " + file + "\nHostCertificate " + file + "-cert.pub",
		known: "@cert-authority " + m.FQDN + " " + w.read(ca+".pub"),
	}
	other := w.read(w.key("other", "ed25519") + ".pub")
	acceptNew := map[string]string{"SSH_HOST_KEYS": "accept-new"}
	w.ways["unknown"] = sshWay{known: "-", refused: "is unknown"}
	w.ways["new"] = sshWay{known: "-", env: acceptNew}
	w.ways["changed"] = sshWay{known: w.machine("changed").FQDN + " " + other, env: acceptNew, refused: "is not the one"}
}

// bastion cuts the direct way to a machine, so that only the bastion reaches it.
func (w *sshWays) bastion() {
	m, b := w.machine("behind"), w.machine("bastion")
	_, err := rig.RunIn(m.rig.Space, "nft", "add table ip way { chain in { type filter hook input priority 0; ip saddr "+bridgeAddr+" tcp dport 22 drop; }; }")
	require.NoError(w.t, err)
	w.ways["behind"] = sshWay{
		account: map[string]any{"jump": SSHUser + "@" + b.Addr + ":22"},
		known:   m.FQDN + " " + m.host.public + b.Addr + " " + b.host.public,
	}
}

// run writes each machine's files and lets the child reboot them in the lab's
// namespace.
func (w *sshWays) run() map[string]sshTry {
	var tries []sshTry
	for id, way := range w.ways {
		dir := filepath.Join(w.dir, id)
		if _, err := os.Stat(dir); err == nil {
			dir += ".d"
		}
		require.NoError(w.t, os.Mkdir(dir, 0o700))
		env := w.l.WriteFiles(dir)
		maps.Copy(env, way.env)
		w.change(env["FQDN_TO_SSH_FILE"], w.machine(id).FQDN, way.account)
		if known := way.known; known != "" {
			if known == "-" {
				known = ""
			}
			require.NoError(w.t, os.WriteFile(env["SSH_KNOWN_HOSTS_FILE"], []byte(known), 0o600))
		}
		tries = append(tries, sshTry{ID: id, Env: env})
	}
	path := filepath.Join(w.dir, "orders.json")
	text, err := json.Marshal(tries)
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(path, text, 0o600))
	child := w.l.Command(w.t.Context(), os.Args[0], "-test.run=^TestSSHWaysInside$", "-test.v")
	child.Env = append(os.Environ(), sshOrders+"="+path)
	said, err := child.CombinedOutput()
	require.NoError(w.t, err, "%s", said)
	require.NoError(w.t, json.Unmarshal([]byte(w.read(path)), &tries))
	results := map[string]sshTry{}
	for _, try := range tries {
		results[try.ID] = try
	}
	return results
}

func (w *sshWays) change(path, fqdn string, account map[string]any) {
	w.t.Helper()
	var entries map[string]map[string]any
	require.NoError(w.t, json.Unmarshal([]byte(w.read(path)), &entries))
	maps.Copy(entries[fqdn]["ssh"].(map[string]any), account)
	text, err := json.Marshal(map[string]any{fqdn: entries[fqdn]})
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(path, text, 0o600))
}

// TestSSHWaysInside is the child: roller's own activity, in the namespace.
func TestSSHWaysInside(t *testing.T) {
	path := os.Getenv(sshOrders)
	if path == "" {
		t.Log("not a test of its own: TestSSHWays runs it inside the lab's network")
		return
	}
	var tries []sshTry
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &tries))
	for i := range tries {
		tries[i].Sent, tries[i].Error = rebootBySSH(t, tries[i])
	}
	text, err = json.Marshal(tries)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
}

func rebootBySSH(t *testing.T, try sshTry) (sent, problem string) {
	t.Helper()
	var environ []string
	for k, v := range try.Env {
		environ = append(environ, fmt.Sprintf("%s=%s", k, v))
	}
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	inv, err := config.LoadInventory(cfg.Files)
	require.NoError(t, err)
	acts := activities.New(cfg, func() *config.Inventory { return inv })
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.RegisterActivity(acts.SSHReboot)
	value, err := env.ExecuteActivity(acts.SSHReboot, activities.Command{
		Machine: config.Name{WorkerID: try.ID, WorkerGroup: "mdc1"}, Action: activities.Reboot,
	})
	if err != nil {
		return "", err.Error()
	}
	var res activities.CommandResult
	require.NoError(t, value.Get(&res))
	return res.Sent, res.Unknown
}
