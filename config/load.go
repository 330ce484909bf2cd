package config

import (
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of ROLLER_CONFIGURATION.
const (
	Dev  = "Dev"
	Prod = "Prod"
	Test = "Test"
)

// Load reads the environment, given as os.Environ gives it. Its error names
// every mistake at once, one a line. What only the web server or only the
// worker needs may be missing: ValidateAPI and ValidateWorker check that.
func Load(environ []string) (*Config, error) {
	e := newEnviron(environ)
	c := e.config()
	if err := e.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (e *environ) config() *Config {
	c := &Config{Configuration: e.configuration(), MetricsAddr: e.address("METRICS_ADDR")}
	c.API = e.api(c.Configuration)
	c.Taskcluster = e.taskcluster(byConfiguration[c.Configuration].taskcluster)
	c.Client = Client{APIURL: e.url("ROLLER_API_URL", ""), Certificate: e.secret("TASKCLUSTER_CERTIFICATE")}
	c.Ladder = e.ladder()
	c.Sight = e.sight()
	c.Sites = e.sites("SITES")
	c.Devices = e.devices()
	c.Bugzilla = Bugzilla{
		URL:             e.url("BUGZILLA_URL", ""),
		APIKey:          e.secret("BUGZILLA_API_KEY"),
		Timeout:         e.duration("BUGZILLA_TIMEOUT", 30*time.Second, 100*time.Millisecond),
		ReopenState:     e.text("BUGZILLA_REOPEN_STATE", "REOPENED"),
		RebootTemplate:  e.object("BUGZILLA_REBOOT_TEMPLATE"),
		TrackerTemplate: e.object("BUGZILLA_WORKER_TRACKER_TEMPLATE"),
		PublicDetails:   e.subset("BUGZILLA_PUBLIC_DETAILS", "", []string{DetailOutlets}),
	}
	c.Notices = e.notices()
	c.Drain = e.drain()
	c.Files = e.files()
	return c
}

// configuration takes the old service's name where the new one is not set.
func (e *environ) configuration() string {
	name, old := "ROLLER_CONFIGURATION", "DJANGO_CONFIGURATION"
	if e.text(name, "") == "" && e.text(old, "") != "" {
		name = old
	}
	return e.oneOf(name, Prod, Dev, Prod, Test)
}

// byConfiguration are the defaults that differ between Dev, Prod and Test.
var byConfiguration = map[string]struct{ tasks, cors, hosts, public, taskcluster string }{
	Dev:  {"ping", "localhost", "localhost,127.0.0.1,[::1]", "http://localhost:8000", "https://firefox-ci-tc.services.mozilla.com"},
	Test: {tasks: "ping", cors: "localhost", hosts: "localhost,127.0.0.1,[::1]", public: "http://localhost:8000"},
	Prod: {tasks: "reboot", cors: "tools.taskcluster.net"},
}

func (e *environ) api(configuration string) API {
	defaults := byConfiguration[configuration]
	a := API{
		Host:         e.text("LISTEN_HOST", ""),
		Port:         e.number("PORT", 8000, 1, maxPort),
		PublicURL:    e.url("PUBLIC_URL", defaults.public),
		TaskNames:    e.subset("TASK_NAMES", defaults.tasks, Tasks()),
		WorkerIDs:    e.pattern("VALID_WORKER_ID_REGEX"),
		StartTimeout: e.duration("START_TIMEOUT", 5*time.Second, time.Second),
		ScopeSets:    e.scopeSets("REQUIRED_TASKCLUSTER_SCOPE_SETS", "project:releng:roller:"+taskHole),
		TLSCertFile:  e.text("TLS_CERT_FILE", ""),
		TLSKeyFile:   e.text("TLS_KEY_FILE", ""),
		// A PDU has up to 64 outlets and a chassis 45 cartridges: one person may
		// see to both at once, and nobody to a whole data centre.
		ClientLimit: e.limit("CLIENT_LIMIT", "100/10m"),
		TotalLimit:  e.limit("TOTAL_LIMIT", "300/10m"),
	}
	if a.Host != "" && !isHost(a.Host) {
		e.wrong("LISTEN_HOST", a.Host, "must be a host name or an IP address without a port")
	}
	a.TrustedProxies = e.prefixes("TRUSTED_PROXIES")
	a.CORSOrigin = e.origin("CORS_ORIGIN", defaults.cors)
	a.AllowedHosts = e.hosts("ALLOWED_HOSTS", defaults.hosts, a.PublicURL)
	return a
}

// address returns a host and port to listen on, or "". Without a host it is
// every address.
func (e *environ) address(name string) string {
	v := e.text(name, "")
	if v == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(v)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host != "" && !isHost(host) {
		e.wrong(name, v, "must be a host and a port, like 127.0.0.1:9464, or :9464 for every address")
	}
	return v
}

// prefixes returns networks; an address is a network of its own.
func (e *environ) prefixes(name string) []netip.Prefix {
	var all []netip.Prefix
	for _, entry := range e.list(name, "") {
		if ip, err := netip.ParseAddr(entry); err == nil && ip.Zone() == "" {
			all = append(all, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(entry)
		if err != nil || p.Masked() != p || p.Addr().Is4In6() {
			e.wrong(name, entry, "must be an IP address or a network, like 10.0.0.0/8, without bits behind its length")
			continue
		}
		all = append(all, p)
	}
	return all
}

// maxPort is the highest TCP or UDP port (RFC 9293, 3.1: 16 bits).
const maxPort = 1<<16 - 1

// origin returns a web origin (RFC 6454, 6.2). The old service's values have no
// scheme.
func (e *environ) origin(name, otherwise string) string {
	v := e.text(name, otherwise)
	if v == "*" {
		return v
	}
	full := v
	if !strings.Contains(v, "://") {
		full = "https://" + v
		if host, _, _ := strings.Cut(v, ":"); host == "localhost" {
			full = "http://" + v
		}
	}
	u, err := url.Parse(full)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Scheme+"://"+u.Host != full || !isHost(u.Hostname()) {
		e.wrong(name, v, "must be an origin, like https://tools.example.com or tools.example.com, without a path")
	}
	return full
}

// hosts returns the Host headers that are answered, without ports and in lower
// case; an IPv6 address has its brackets.
func (e *environ) hosts(name, otherwise, publicURL string) []string {
	var allowed []string
	for _, entry := range e.list(name, otherwise) {
		if !isHost(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")) {
			e.wrong(name, entry, "must be a host name or an IP address, without scheme, port and wildcard")
		}
		allowed = append(allowed, bracketed(entry))
	}
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		allowed = append(allowed, bracketed(u.Hostname()))
	}
	slices.Sort(allowed)
	return slices.Compact(allowed)
}

// bracketed writes a host as a Host header does.
func bracketed(host string) string {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if strings.Contains(host, ":") {
		return strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	}
	return host
}

// taskHole is the placeholder of REQUIRED_TASKCLUSTER_SCOPE_SETS.
const taskHole = "{task_name}"

// scopeSets returns the sets of scopes of which one must be held whole. A set
// that does not depend on the task would let whoever holds it do everything.
func (e *environ) scopeSets(name, otherwise string) [][]string {
	var sets [][]string
	v := e.text(name, otherwise)
	for _, text := range split(v, ";") {
		set := split(text, ",")
		sets = append(sets, set)
		if !strings.Contains(strings.Join(set, ","), taskHole) {
			e.wrong(name, text, "no scope of this set has "+taskHole+", so that it would open every action")
		}
		if rest := strings.ReplaceAll(text, taskHole, ""); strings.ContainsAny(rest, "{}") {
			e.wrong(name, text, "may have no other placeholder than "+taskHole)
		}
	}
	if len(sets) == 0 {
		e.wrong(name, v, "must have at least one scope")
	}
	return sets
}

// pattern returns the regular expression of ManagedHost.
func (e *environ) pattern(name string) string {
	v := e.text(name, "")
	if _, err := anchored(v); err != nil {
		e.wrong(name, v, "must be a regular expression (RE2): "+err.Error())
	}
	return v
}

// object returns a text that is a JSON object, or "".
func (e *environ) object(name string) string {
	v := e.text(name, "")
	if v != "" && json.Unmarshal([]byte(v), &map[string]any{}) != nil {
		e.wrong(name, v, "must be a JSON object")
	}
	return v
}

func (e *environ) files() Files {
	f := Files{
		Worker:        e.text("WORKER_CONFIG_PATH", ""),
		SSH:           e.text("FQDN_TO_SSH_FILE", ""),
		IPMI:          e.text("FQDN_TO_IPMI_FILE", ""),
		PDU:           e.text("FQDN_TO_PDU_FILE", ""),
		PDUProfiles:   e.text("PDU_PROFILES_FILE", ""),
		SNMPUsers:     e.text("SNMP_USERS_FILE", ""),
		Xen:           e.text("FQDN_TO_XEN_FILE", ""),
		SSHAgent:      e.text("SSH_AUTH_SOCK", "") != "",
		ILO:           e.text("FQDN_TO_ILO_FILE", ""),
		Moonshot:      e.text("FQDN_TO_MOONSHOT_FILE", ""),
		Taskcluster:   e.text("FQDN_TO_TASKCLUSTER_FILE", ""),
		FQDNTemplates: e.list("FQDN_TEMPLATES", strings.Join(defaultTemplates, ",")),
	}
	if f.Worker != "" && f.SSH+f.IPMI+f.PDU+f.Xen+f.ILO+f.Moonshot+f.Taskcluster != "" {
		e.wrong("WORKER_CONFIG_PATH", f.Worker, "must not be set together with a FQDN_TO_..._FILE: it is the whole inventory")
	}
	for _, template := range f.FQDNTemplates {
		if _, err := parseTemplate(template); err != nil {
			e.wrong("FQDN_TEMPLATES", template, err.Error())
		}
	}
	return f
}
