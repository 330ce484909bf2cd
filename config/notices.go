package config

import (
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Notices is who is told when a job begins and ends.
type Notices struct {
	Emails     []string    // NOTIFY_EMAIL
	MatrixRoom string      // NOTIFY_MATRIX_ROOM: !id:server
	SlackChan  string      // NOTIFY_SLACK_CHANNEL: the channel's ID
	Requesters []Requester // NOTIFY_REQUESTERS: whose client IDs are addresses
	WebhookURL string      // NOTIFY_WEBHOOK_URL
	WebhookKey Secret      // NOTIFY_WEBHOOK_KEY: signs what is posted there
	Limit      Duration    // NOTIFY_LIMIT: how long one notice is tried, 1h
}

// Requester says which client IDs belong to users of a domain.
type Requester struct {
	Prefix string // of the client ID; the user's name follows, up to the next slash
	Domain string
}

var (
	addressForm = regexp.MustCompile(`\A[0-9A-Za-z.!#$%&'*+/=?^_{|}~-]+@[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?\z`)
	userForm    = regexp.MustCompile(`\A[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}\z`)
	matrixForm  = regexp.MustCompile(`\A!\S+:\S+\z`)
	slackForm   = regexp.MustCompile(`\A[0-9A-Z]{2,32}\z`)
)

// webhookKeyLeast is how long the key must be: as long as the hash of the HMAC that
// it makes (RFC 2104, 3).
const webhookKeyLeast = 32

func (e *environ) notices() Notices {
	n := Notices{
		Emails: e.list("NOTIFY_EMAIL", ""), MatrixRoom: e.text("NOTIFY_MATRIX_ROOM", ""), SlackChan: e.text("NOTIFY_SLACK_CHANNEL", ""),
		WebhookURL: e.url("NOTIFY_WEBHOOK_URL", ""), WebhookKey: e.secret("NOTIFY_WEBHOOK_KEY"),
		Limit: e.duration("NOTIFY_LIMIT", time.Hour, time.Second),
	}
	for _, address := range n.Emails {
		if !addressForm.MatchString(address) {
			e.wrong("NOTIFY_EMAIL", address, "must be an email address")
		}
	}
	if n.MatrixRoom != "" && !matrixForm.MatchString(n.MatrixRoom) {
		e.wrong("NOTIFY_MATRIX_ROOM", n.MatrixRoom, "must be a room's ID, like !whDRjjSmICCgrhFHsQ:example.org")
	}
	if n.SlackChan != "" && !slackForm.MatchString(n.SlackChan) {
		e.wrong("NOTIFY_SLACK_CHANNEL", n.SlackChan, "must be a channel's ID, like C123456GZ")
	}
	for _, entry := range e.list("NOTIFY_REQUESTERS", "") {
		i := strings.LastIndex(entry, "=")
		if i < 1 || !isHost(entry[i+1:]) {
			e.wrong("NOTIFY_REQUESTERS", entry, "must be a prefix of client IDs, = and a domain, like mozilla-auth0/ad|Mozilla-LDAP|=mozilla.com")
			continue
		}
		n.Requesters = append(n.Requesters, Requester{entry[:i], entry[i+1:]})
	}
	if !n.WebhookKey.IsZero() && len(n.WebhookKey.Reveal()) < webhookKeyLeast {
		e.hidden("NOTIFY_WEBHOOK_KEY", "must have 32 characters or more (the value is not shown)")
	}
	if u, err := url.Parse(n.WebhookURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		e.wrong("NOTIFY_WEBHOOK_URL", n.WebhookURL, "must begin with https://: notices say what is wrong with which machine")
	}
	return n
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// AddressOf is the address of whoever has a client ID; "" where it is not known, or
// not of a domain that may be written to.
func (n Notices) AddressOf(clientID string) string {
	for _, r := range n.Requesters {
		rest, ok := strings.CutPrefix(clientID, r.Prefix)
		if !ok {
			continue
		}
		user, _, _ := strings.Cut(rest, "/")
		user = strings.TrimSuffix(user, "@"+r.Domain)
		if userForm.MatchString(user) {
			return user + "@" + r.Domain
		}
	}
	return ""
}

// reachNotices checks that what is to be told can be.
func (c *Config) reachNotices() error {
	n := c.Notices
	err := together(variable{"NOTIFY_WEBHOOK_URL", n.WebhookURL != ""}, variable{"NOTIFY_WEBHOOK_KEY", !n.WebhookKey.IsZero()})
	service := len(n.Emails) > 0 || len(n.Requesters) > 0 || n.MatrixRoom != "" || n.SlackChan != ""
	reachable := c.Taskcluster.RootURL != "" && c.Taskcluster.ClientID != "" && !c.Taskcluster.AccessToken.IsZero()
	if service && !reachable {
		err = errors.Join(err, errors.New("TASKCLUSTER_ROOT_URL, TASKCLUSTER_CLIENT_ID and TASKCLUSTER_ACCESS_TOKEN: must be set: notices by email, Matrix and Slack go by Taskcluster's notify service"))
	}
	return err
}
