// Package config reads what roller is told: the environment, and the inventory
// files that say how each machine can be reached.
package config

import "net/netip"

// Config is the whole environment, read once at the start of a process.
// Load fills it; .env-dist documents every variable.
type Config struct {
	Configuration string // ROLLER_CONFIGURATION (or DJANGO_CONFIGURATION): Dev, Prod or Test
	Client        Client
	MetricsAddr   string // METRICS_ADDR: host and port to serve Prometheus metrics on; "" is nowhere
	API           API
	Taskcluster   Taskcluster
	Ladder        Ladder
	Sight         Sight
	Sites         Sites // SITES: networks with workers of their own
	Devices       Devices
	Bugzilla      Bugzilla
	Notices       Notices
	Drain         Drain
	Files         Files
}

// API is what the web server needs.
type API struct {
	Host         string   // LISTEN_HOST: the address to listen on; "" is every address
	Port         int      // PORT, 8000
	PublicURL    string   // PUBLIC_URL: scheme, host and port as clients see them; decides what a Hawk header must be signed for
	AllowedHosts []string // ALLOWED_HOSTS: Host headers that are answered; PUBLIC_URL's host always is
	CORSOrigin   string   // CORS_ORIGIN
	TLSCertFile  string   // TLS_CERT_FILE: PEM, the server's certificate and those between it and the root; "" is plain HTTP, for a proxy
	TLSKeyFile   string   // TLS_KEY_FILE: PEM

	TrustedProxies []netip.Prefix // TRUSTED_PROXIES: whose X-Forwarded-For is believed
	TaskNames      []string       // TASK_NAMES: tasks that may be asked for over HTTP
	ScopeSets      [][]string     // REQUIRED_TASKCLUSTER_SCOPE_SETS: sets of scopes, each a template with {task_name}; one whole set must be held
	WorkerIDs      string         // VALID_WORKER_ID_REGEX: which worker IDs are managed hosts; "" is all
	StartTimeout   Duration       // START_TIMEOUT: one question to Temporal, 5s
	ClientLimit    Limit          // CLIENT_LIMIT: jobs that change something, of one client, 100/10m
	TotalLimit     Limit          // TOTAL_LIMIT: and of all clients together, 300/10m
}

// Taskcluster is the deployment whose users roller serves.
type Taskcluster struct {
	RootURL     string   // TASKCLUSTER_ROOT_URL
	ClientID    string   // TASKCLUSTER_CLIENT_ID
	AccessToken Secret   // TASKCLUSTER_ACCESS_TOKEN
	Timeout     Duration // TASKCLUSTER_TIMEOUT: one call with its retries, 5s
	TaskQueue   string   // TASKCLUSTER_TASK_QUEUE: whose tasks `roller taskcluster` claims, proj-relops/roller
	WorkerGroup string   // TASKCLUSTER_WORKER_GROUP: as which worker it claims them, roller
	WorkerID    string   // TASKCLUSTER_WORKER_ID; "" is the host's name
	Reclaim     Duration // TASKCLUSTER_RECLAIM: how often a claim is renewed, and so how soon a cancelled task is noticed, 1m
	SealKey     Secret   // ROLLER_SEAL_KEY: base64 of 32 bytes, or several with commas, of which the first seals; for tasks' credentials in Temporal's history
}

// Client is what the command line needs to ask the API in the place of Temporal.
type Client struct {
	APIURL      string // ROLLER_API_URL; "" is Temporal itself
	Certificate Secret // TASKCLUSTER_CERTIFICATE: of temporary credentials, JSON
}

// Ladder is the order of the rungs and the time each may take.
type Ladder struct {
	Methods       []string // REBOOT_METHODS
	DownTimeout   Duration // DOWN_TIMEOUT: after a command, until the machine must be seen down, 60s
	UpTimeout     Duration // UP_TIMEOUT: after that, until it must be back, 300s
	RungRetry     Duration // RUNG_RETRY: how long a command that was known not to be sent is tried again, 60s
	OffDelay      Duration // OFF_DELAY: between off and on for xenapi_reboot, and for ipmi_off in a ladder, 5s
	PDUDelay      Duration // SNMP_REBOOT_DELAY: between off and on for snmp_rebootdelay, 60s
	OnAlarm       Duration // ON_ALARM: a machine that cannot be powered on for this long gets its bug, 5m
	OnRetry       Duration // ON_RETRY: the pause between two long tries to power on, 5m
	OnLimit       Duration // ON_LIMIT: how long one job keeps trying to power on, 24h
	BugWait       Duration // BUG_WAIT: how long a job waits for its bug before it ends naming the bug's run, 20s
	BugRetry      Duration // BUG_RETRY: the pause after an answer that only a person can mend, 10m
	BugLimit      Duration // BUG_LIMIT: how long a bug is tried, 24h
	ProbeInterval Duration // PROBE_INTERVAL, 1s
	ProbeTimeout  Duration // PROBE_TIMEOUT: one probe's wait for its reply, 2s
	DownProbes    int      // DOWN_PROBES: probes in a row that must go unanswered before a machine is down, 3
	CommandTime   Duration // COMMAND_TIMEOUT: one whole dialogue with a device: set-up, one command, reading back, 3m
	RetryInterval Duration // RETRY_INTERVAL: before an attempt that follows one that sent nothing, 5s
	Reimage       Duration // REIMAGE_TIMEOUT: from a reimage's power-cycle until the machine must be installed and up, 2h
	ReimageSettle Duration // REIMAGE_SETTLE: how long it must stay up then: installers restart more than once, 2m
	LastLook      Duration // LAST_LOOK: how long a machine is looked for once more before its bug, 15s
	StopTimeout   Duration // WORKER_STOP_TIMEOUT: how long a stopping worker lets its commands end, 90s
	Heartbeat     Duration // HEARTBEAT_TIMEOUT: of activities that wait for a machine, 60s
	TurnWait      Duration // TURN_WAIT: how long one attempt waits for its turn at a device before it asks anew, 60s
	TurnLimit     Duration // TURN_LIMIT: how long a rung waits for its turn, over all attempts, 1h
	CommandSlots  int      // COMMAND_SLOTS: commands and reads that one worker has at once, waiting for their turns or not, 5000
	WatchSlots    int      // WATCH_SLOTS: machines that one worker waits for at once, 20000
	WorkflowSlots int      // WORKFLOW_SLOTS: jobs that one worker moves on at once, 200
	WorkflowCache int      // WORKFLOW_CACHE: jobs that one worker keeps in memory between their steps, 1000
	Pollers       int      // POLLERS: questions for work that one worker has open at each task queue, for each kind, 4
}

// Devices is how long each device may take, and what is common to all of a kind.
type Devices struct {
	DeviceInterval  Duration // DEVICE_INTERVAL: the least time between two turns at a PDU or a Xen pool, 1s
	BMCInterval     Duration // BMC_INTERVAL: and at a machine's own BMC, 5s
	ChassisInterval Duration // CHASSIS_INTERVAL: and at a chassis manager, 5s

	SSHTimeout     Duration // SSH_TIMEOUT: dial and handshake, 5s
	KnownHostsFile string   // SSH_KNOWN_HOSTS_FILE, known_hosts
	HostKeys       string   // SSH_HOST_KEYS: HostKeysStrict or HostKeysAcceptNew
	SSHAgent       string   // SSH_AUTH_SOCK: the agent's socket; "" is none
	IPMITimeout    Duration // IPMI_TIMEOUT: one control command, sent once, 20s
	IPMISession    Duration // IPMI_SESSION_TIMEOUT: setting a session up, with its repeats, 15s
	IPMIPrivilege  string   // IPMI_PRIVILEGE: CALLBACK, USER, OPERATOR, ADMINISTRATOR
	IPMIStatusWait Duration // IPMI_POWER_STATUS_WAIT: from a soft power off until a hard one, 120s
	IPMIStatusPoll Duration // IPMI_POWER_STATUS_INTERVAL: between two readings of the power state meanwhile, 15s
	SNMPTimeout    Duration // SNMP_TIMEOUT: one control command, sent once, 10s
	SNMPCommunity  Secret   // SNMP_COMMUNITY (v1 and v2c, read and write)
	SNMPv3         SNMPUser // SNMP_V3_*: of PDUs with version 3 whose entry names no other user
	SNMPVerify     Duration // SNMP_VERIFY_TIMEOUT: until the outlet's status must read as commanded, 30s
	XenURL         string   // XEN_URL
	XenUsername    string   // XEN_USERNAME
	XenPassword    Secret   // XEN_PASSWORD
	XenCAFile      string   // XEN_CA_FILE: PEM, in place of the system's roots
	XenTimeout     Duration // XEN_TIMEOUT: one call, 10s
	XenShutdown    Duration // XEN_SHUTDOWN_TIMEOUT: a clean shutdown, before the hard one, 60s
	ILOUsername    string   // ILO_USERNAME
	ILOPassword    Secret   // ILO_PASSWORD
	ILOTimeout     Duration // ILO_TIMEOUT: one request to an iLO or a chassis manager; a command is sent once, 30s
	ILOVerify      Duration // ILO_VERIFY_TIMEOUT: until an iLO's power state, which some cache, must read as commanded, 60s
	ILOCAFile      string   // ILO_CA_FILE: PEM; who signs certificates that are not pinned; "" is the system's roots
	StatusTimeout  Duration // STATUS_TIMEOUT: for status, which asks all of a machine's devices side by side, 20s
}

// The values of SSH_HOST_KEYS.
const (
	HostKeysStrict    = "strict"     // only keys of SSH_KNOWN_HOSTS_FILE
	HostKeysAcceptNew = "accept-new" // the first key of a host that the file does not know is added to it
)

// Bugzilla is where machines that do not come back are reported.
type Bugzilla struct {
	URL             string   // BUGZILLA_URL, with or without /rest/
	APIKey          Secret   // BUGZILLA_API_KEY
	Timeout         Duration // BUGZILLA_TIMEOUT: one request, 30s
	ReopenState     string   // BUGZILLA_REOPEN_STATE, REOPENED
	RebootTemplate  string   // BUGZILLA_REBOOT_TEMPLATE: JSON object
	TrackerTemplate string   // BUGZILLA_WORKER_TRACKER_TEMPLATE: JSON object
	PublicDetails   []string // BUGZILLA_PUBLIC_DETAILS: what a bug, which everybody may read, tells besides; known is DetailOutlets
}

// DetailOutlets lets bugs name the PDU outlets that feed the machine.
const DetailOutlets = "outlets"

// Files are the paths of the inventory. A file that is named must exist; one that
// is not named has a default path and may be missing.
type Files struct {
	Worker        string   // WORKER_CONFIG_PATH; where it is set the four others are not read
	SSH           string   // FQDN_TO_SSH_FILE; "" is ssh.json
	IPMI          string   // FQDN_TO_IPMI_FILE; "" is ipmi.json
	PDU           string   // FQDN_TO_PDU_FILE; "" is pdus.json
	PDUProfiles   string   // PDU_PROFILES_FILE; "" is pdu_profiles.json
	SNMPUsers     string   // SNMP_USERS_FILE; "" is snmp_users.json
	Xen           string   // FQDN_TO_XEN_FILE; "" is xen.json
	SSHAgent      bool     // SSH_AUTH_SOCK is set: a key may be with the agent
	ILO           string   // FQDN_TO_ILO_FILE; "" is ilo.json
	Moonshot      string   // FQDN_TO_MOONSHOT_FILE; "" is moonshot.json
	Taskcluster   string   // FQDN_TO_TASKCLUSTER_FILE; "" is taskcluster.json
	NamesOnly     bool     // no variable: for a process that needs no credentials, so that key files are not looked at
	FQDNTemplates []string // FQDN_TEMPLATES, each with {worker_id} and {worker_group}
}
