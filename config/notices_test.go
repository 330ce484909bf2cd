package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoticesVariables(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ environ, message string }{
		"no address":            {"NOTIFY_EMAIL=relops", `NOTIFY_EMAIL="relops": must be an email address`},
		"two lines":             {"NOTIFY_EMAIL=a@b.example\nBcc: c@d.example", "must be an email address"},
		"a room's name":         {"NOTIFY_MATRIX_ROOM=#room:x", "must be a room's ID"},
		"a channel's name":      {"NOTIFY_SLACK_CHANNEL=#relops", "must be a channel's ID"},
		"no domain":             {"NOTIFY_REQUESTERS=mozilla-ldap/", "must be a prefix of client IDs"},
		"no prefix":             {"NOTIFY_REQUESTERS==mozilla.com", "must be a prefix of client IDs"},
		"a short key":           {"NOTIFY_WEBHOOK_KEY=s3cret", "NOTIFY_WEBHOOK_KEY: must have 32 characters or more (the value is not shown)"},
		"in clear over the net": {"NOTIFY_WEBHOOK_URL=http://example.com/x", "must begin with https://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load([]string{test.environ})
			require.ErrorContains(t, err, test.message)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestNoticesMustBeDeliverable(t *testing.T) {
	t.Parallel()
	credentials := []string{"TASKCLUSTER_ROOT_URL=https://tc.example", "TASKCLUSTER_CLIENT_ID=c", "TASKCLUSTER_ACCESS_TOKEN=t"}
	key := "NOTIFY_WEBHOOK_KEY=0123456789abcdef0123456789abcdef"
	for name, test := range map[string]struct {
		environ []string
		says    string
	}{
		"nobody is told":          {nil, ""},
		"email":                   {append([]string{"NOTIFY_EMAIL=a@b.example"}, credentials...), ""},
		"email without a service": {[]string{"NOTIFY_EMAIL=a@b.example"}, "TASKCLUSTER_ROOT_URL"},
		"requesters without":      {[]string{"NOTIFY_REQUESTERS=x/=b.example"}, "TASKCLUSTER_ROOT_URL"},
		"slack without":           {[]string{"NOTIFY_SLACK_CHANNEL=C1"}, "TASKCLUSTER_ROOT_URL"},
		"a webhook":               {[]string{"NOTIFY_WEBHOOK_URL=https://h.example/x", key}, ""},
		"a webhook without key":   {[]string{"NOTIFY_WEBHOOK_URL=https://h.example/x"}, "NOTIFY_WEBHOOK_KEY: must be set too"},
		"a key without webhook":   {[]string{key}, "NOTIFY_WEBHOOK_URL: must be set too"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(append([]string{"ROLLER_CONFIGURATION=Test"}, test.environ...))
			require.NoError(t, err)
			err = c.ValidateWorker()
			if test.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.says)
			}
		})
	}
}

func TestAddressOf(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{"NOTIFY_REQUESTERS=mozilla-auth0/ad|Mozilla-LDAP|=mozilla.com, mozilla-ldap/=mozilla.com"})
	require.NoError(t, err)
	for client, want := range map[string]string{
		"mozilla-auth0/ad|Mozilla-LDAP|sheriff":               "sheriff@mozilla.com",
		"mozilla-auth0/ad|Mozilla-LDAP|sheriff/laptop":        "sheriff@mozilla.com",
		"mozilla-ldap/sheriff@mozilla.com/x":                  "sheriff@mozilla.com",
		"mozilla-ldap/sheriff@elsewhere.example":              "",
		"mozilla-auth0/github|1234|sheriff":                   "",
		"mozilla-auth0/ad|Mozilla-LDAP|":                      "",
		"mozilla-auth0/ad|Mozilla-LDAP|a b":                   "",
		"mozilla-auth0/ad|Mozilla-LDAP|a,b":                   "",
		"mozilla-auth0/ad|Mozilla-LDAP|x\r\nBcc: a@b.example": "",
		"cli/root": "",
		"":         "",
	} {
		require.Equal(t, want, c.Notices.AddressOf(client), client)
	}
}
