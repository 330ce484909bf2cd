//go:build lab && linux

package netns

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/api"
	"github.com/mozilla-platform-ops/roller/lab/netns/rig"
	"github.com/mozilla-platform-ops/roller/workflows"
)

// metricsPort is that of each process's METRICS_ADDR, on the loopback of its namespace.
const metricsPort = 9464

// apiJob is a job as the API shows it.
type apiJob = api.JobDetail

// center is where Temporal, the API and the central worker are: a network of its
// own, with a link to each site, from where no machine is reached.
type center struct {
	*inside
	links map[*Lab]string
}

// siteName is what SITES calls a lab.
func siteName(l *Lab) string { return "site-" + l.Group() }

// newCenter starts it and, in each lab, a worker of that site.
func newCenter(t *testing.T, env map[string]string, labs ...*Lab) *center {
	t.Helper()
	home := labs[0]
	require.NoError(t, home.addSpace("center"))
	c := &center{links: map[*Lab]string{}}
	o, dir := newOrder(t, home)
	merge(t, dir, o.Env, labs)
	maps.Copy(o.Env, env)
	var sites, canaries []string
	for _, l := range labs {
		gateway, err := l.Gateway()
		require.NoError(t, err)
		sites, canaries = append(sites, siteName(l)+"="+l.Group()), append(canaries, l.Group()+"="+gateway)
		c.link(t, l, home.space("center"))
	}
	o.Env["SITES"], o.Env["CANARIES"] = strings.Join(sites, ";"), strings.Join(canaries, ";")
	o.Listen, o.Metrics = "0.0.0.0", fmt.Sprintf("127.0.0.1:%d", metricsPort)
	c.inside = newInsideOf(t, home, home.space("center"), o, dir)
	c.work(o, labs)
	c.env = append(c.env, "ROLLER_API_URL="+c.api, "TASKCLUSTER_CLIENT_ID="+sheriff, "TASKCLUSTER_ACCESS_TOKEN="+accessToken)
	return c
}

// link lays the cable between the center and a site: 10.78.SITE.0/24.
func (c *center) link(t *testing.T, l *Lab, space string) {
	t.Helper()
	name := "to-" + l.Group()
	c.links[l] = name
	require.NoError(t, ip(
		[]string{"-n", space, "link", "add", name, "type", "veth", "peer", "name", "wan", "netns", l.space("lab")},
		[]string{"-n", space, "address", "add", fmt.Sprintf("10.78.%d.1/24", l.site), "dev", name},
		[]string{"-n", l.space("lab"), "address", "add", fmt.Sprintf("10.78.%d.2/24", l.site), "dev", "wan"},
		[]string{"-n", l.space("lab"), "link", "set", "wan", "up"},
		[]string{"-n", space, "link", "set", name, "up"},
	))
}

// work starts `roller worker --site` in each lab's own network.
func (c *center) work(o order, labs []*Lab) {
	c.t.Helper()
	temporal := strings.TrimPrefix(c.env[len(c.env)-1], "TEMPORAL_ADDRESS=")
	_, port, err := net.SplitHostPort(temporal)
	require.NoError(c.t, err)
	for _, l := range labs {
		env := maps.Clone(insideEnv)
		maps.Copy(env, o.Env)
		maps.Copy(env, map[string]string{
			"ROLLER_CONFIGURATION": "Test", "TEMPORAL_ADDRESS": fmt.Sprintf("10.78.%d.1:%s", l.site, port),
			"METRICS_ADDR": o.Metrics, "PATH": os.Getenv("PATH"), "HOME": l.Dir(),
		})
		log, err := os.Create(filepath.Join(l.Dir(), "worker.log"))
		require.NoError(c.t, err)
		cmd := rig.Command(c.t.Context(), l.space("lab"), o.Roller, "worker", "--site", siteName(l))
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(c.t, cmd.Start())
		l.daemons = append(l.daemons, cmd)
	}
}

// merge writes one inventory of all labs.
func merge(t *testing.T, dir string, env map[string]string, labs []*Lab) {
	t.Helper()
	var known strings.Builder
	all := map[string]map[string]any{"FQDN_TO_SSH_FILE": {}, "FQDN_TO_IPMI_FILE": {}, "FQDN_TO_PDU_FILE": {}}
	for _, l := range labs {
		own := l.WriteFiles(t.TempDir())
		text, err := os.ReadFile(own["SSH_KNOWN_HOSTS_FILE"])
		require.NoError(t, err)
		known.Write(text)
		for name, entries := range all {
			text, err := os.ReadFile(own[name])
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &entries))
		}
	}
	files := map[string]string{"all-hosts": known.String()}
	env["SSH_KNOWN_HOSTS_FILE"] = filepath.Join(dir, "all-hosts")
	for name, entries := range all {
		text, err := json.Marshal(entries)
		require.NoError(t, err)
		files[name+".json"] = string(text)
		env[name] = filepath.Join(dir, name+".json")
	}
	require.NoError(t, writeFiles(dir, files))
}

// reboot asks the API for it.
func (c *center) reboot(m *Machine, l *Lab) {
	c.t.Helper()
	_, status := c.say(nil, "start", "reboot", m.ID, l.Group())
	require.Zero(c.t, status)
}

// job is what the API says of a machine's job.
func (c *center) job(m *Machine, l *Lab) (j apiJob) {
	c.t.Helper()
	out, status := c.say(nil, "show", "-o", "json", "machine/"+l.Group()+"/"+m.ID)
	require.Zero(c.t, status)
	require.NoError(c.t, json.Unmarshal([]byte(out), &j), "%s", out)
	return j
}

// until waits for the job to be so.
func (c *center) until(m *Machine, l *Lab, what string, holds func(apiJob) bool) (j apiJob) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		j = c.job(m, l)
		return holds(j)
	}, 4*time.Minute, 500*time.Millisecond, "%s: %s", m.ID, what)
	return j
}

// back waits for the end of a job, which has brought its machine back.
func (c *center) back(m *Machine, l *Lab) apiJob {
	c.t.Helper()
	j := c.until(m, l, "ends", func(j apiJob) bool { return j.State != "running" })
	require.Equal(c.t, workflows.Back, j.Outcome, "%s", j.Text)
	return j
}

// scrape reads the metrics of the process that serves them in a namespace.
func scrape(t *testing.T, space string) string {
	t.Helper()
	out, err := rig.RunIn(space, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%d; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`, metricsPort))
	require.NoError(t, err)
	return out
}

// TestNetworkOfASiteIsCut: two sites, each with its own worker in its own network.
// What is cut at one, first between its worker and its machines, then between its
// worker and Temporal, does not hold up the other; its jobs say what they wait for,
// spend no rung, and go on afterwards.
func TestNetworkOfASiteIsCut(t *testing.T) {
	t.Parallel()
	here, there := Start(t, with(quick, "ms1-1", "ms1-2")), with(quick, "ms2-1", "ms2-2")
	there.Site = 1
	other := Start(t, there)
	watched, later := here.Machines()[0], here.Machines()[1]
	require.NoError(t, watched.SetFaults(Faults{IgnoreSSH: true}))
	c := newCenter(t, map[string]string{
		"BLIND_LIMIT": "10m", "PROBE_TIMEOUT": "1s", "HEARTBEAT_TIMEOUT": "10s", "REBOOT_METHODS": "ssh_reboot,ipmi_reset,file_bugzilla_bug",
	}, here, other)
	central, worker := here.space("center"), here.space("lab")

	c.reboot(watched, here)
	eventually(t, here, "the command that is ignored", func() bool { return len(controls(here, watched)) == 1 })
	require.NoError(t, here.CutSilently())
	c.reboot(other.Machines()[0], other)
	c.until(watched, here, "says that it is blind", blindOf(here))
	require.Contains(t, scrape(t, worker), `roller_activities{activity_type="AwaitSight",`)
	c.back(other.Machines()[0], other)
	require.True(t, blindOf(here)(c.job(watched, here)), "the other one did not wait for it")
	require.Equal(t, []string{"reboot"}, controls(here, watched), "no rung is spent")
	require.NoError(t, here.Mend())
	j := c.back(watched, here)
	require.Equal(t, map[string]workflows.Outcome{"ssh_reboot": workflows.NoEffect, "ipmi_reset": workflows.Back}, rungs(&workflows.Result{Attempts: j.Attempts}))
	require.Equal(t, []string{"reboot", "chassis power reset"}, controls(here, watched))

	require.NoError(t, ip([]string{"-n", central, "link", "set", c.links[here], "down"}))
	deserted := `roller_site_workers{site="` + siteName(here) + `"} 0`
	require.Eventually(t, func() bool { return strings.Contains(scrape(t, central), deserted) }, 4*time.Minute, time.Second, "Temporal forgets the worker")
	c.reboot(later, here)
	c.reboot(other.Machines()[1], other)
	c.back(other.Machines()[1], other)
	c.until(later, here, "says that its site has no worker", func(j apiJob) bool {
		return strings.HasPrefix(j.Now, "waiting for a worker of site "+siteName(here)+": none is there")
	})
	scraped := scrape(t, central)
	require.Contains(t, scraped, deserted)
	require.Contains(t, scraped, `roller_site_workers{site="`+siteName(other)+`"} 1`)
	require.Empty(t, controls(here, later))
	require.NoError(t, ip([]string{"-n", central, "link", "set", c.links[here], "up"}))
	j = c.back(later, here)
	require.Len(t, j.Attempts, 1)
	require.Equal(t, []string{"reboot"}, controls(here, later))
	require.Empty(t, c.close(), "no bug")
}

// blindOf says of a job that it pauses because a site cannot be seen.
func blindOf(l *Lab) func(apiJob) bool {
	return func(j apiJob) bool {
		return strings.HasPrefix(j.Now, "blind: none of "+l.Group()+"'s canaries answers; paused since ")
	}
}
