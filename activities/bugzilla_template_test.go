package activities

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// The templates that the old service had as its defaults.
const (
	oldReboot  = `{"api_key": "${api_key}", "product": "Infrastructure & Operations", "component": "DCOps", "cc": "${cc}", "summary": "${hostname} is unreachable", "version": "unspecified", "description": "Reboot ${hostname} ${ip}\nRequested by ${client_id}\nRelops controller action failed:${log}", "blocks": "${blocks}"}`
	oldTracker = `{"api_key": "${api_key}", "product": "Infrastructure & Operations", "component": "CIDuty", "summary": "[${DC}] ${alias} problem tracking", "version": "unspecified", "alias": "${alias}"}`
)

func TestParseBugTemplate(t *testing.T) {
	t.Parallel()
	const good = `"product":"P","component":"C","summary":"S"`
	cases := map[string]struct{ text, mistake string }{
		"default reboot":       {text: DefaultRebootTemplate},
		"default tracker":      {text: DefaultTrackerTemplate},
		"old reboot":           {text: oldReboot},
		"old tracker":          {text: oldTracker},
		"other braces":         {text: `{` + good + `,"description":"{ } {} {1} {a-b}"}`},
		"empty":                {text: ``, mistake: "not a JSON object: EOF"},
		"cut off":              {text: `{"product"`, mistake: "not a JSON object: unexpected EOF"},
		"trailing text":        {text: `{` + good + `} {`, mistake: "text after the JSON object"},
		"null":                 {text: `null`, mistake: "product is not a string with text in it; component is not a string with text in it; summary is not a string with text in it"},
		"no summary":           {text: `{"product":"P","component":"C"}`, mistake: "summary is not a string with text in it"},
		"a number":             {text: `{"product":1,"component":"C","summary":"S"}`, mistake: "product is not a string with text in it"},
		"description list":     {text: `{` + good + `,"description":["x"]}`, mistake: "description is not a string"},
		"unknown placeholders": {text: `{` + good + `,"cc":["{who}",{"x":"${password}"}]}`, mistake: "unknown placeholder {password}; unknown placeholder {who}"},
		"a key":                {text: `{` + good + `,"api_key":"s3cret"}`, mistake: "api_key does not belong in a template"},
		"blocks":               {text: `{` + good + `,"blocks":[1]}`, mistake: "blocks does not belong in a template"},
		"everything at once":   {text: `{"api_key":1,"summary":"{x}"}`, mistake: "api_key does not belong in a template; product is not a string with text in it; component is not a string with text in it; unknown placeholder {x}"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseBugTemplate(c.text)
			if c.mistake == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.mistake)
		})
	}
}

func TestOldBugTemplate(t *testing.T) {
	t.Parallel()
	template, err := ParseBugTemplate(oldReboot)
	require.NoError(t, err)
	in := Bug{
		Machine: config.Name{WorkerID: "ms1-10", WorkerGroup: "mdc1"}, FQDN: "ms1-10.example", Task: "reboot",
		Attempts: []BugLine{{Rung: "ping", Outcome: "failed"}},
	}
	fields := template.expand(bugValues(in, ""))
	require.Equal(t, map[string]any{
		"product": "Infrastructure & Operations", "component": "DCOps", "version": "unspecified",
		"summary":     "ms1-10.example is unreachable",
		"description": "Reboot ms1-10.example \nRequested by nobody known\nRelops controller action failed:- ping: failed",
	}, fields)
	require.Equal(t, fields["description"], bugText(in, "", template, fields), "it has the attempts already")
}

// No value may change the shape of the JSON, or be taken for a placeholder.
func FuzzBugTemplateKeepsValues(f *testing.F) {
	for _, seed := range []string{"", `"`, `\`, "\n", "{fqdn}", "${task}", "<b>&", `","x":"y`, "\u2028", "\x00", "ü{"} {
		f.Add(seed)
	}
	template, err := ParseBugTemplate(`{"product":"P","component":"C","summary":"<{requester}>","list":["{requester}",{"{requester}":"{task}{requester}"}],"n":12345678901234567890}`)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ToValidUTF8(value, "?")
		text, err := json.Marshal(template.expand(map[string]string{"requester": value, "task": "T"}))
		require.NoError(t, err)
		require.Contains(t, string(text), `"n":12345678901234567890`)
		var got map[string]any
		require.NoError(t, json.Unmarshal(text, &got))
		delete(got, "n")
		require.Equal(t, map[string]any{
			"product": "P", "component": "C", "version": "unspecified", "summary": "<" + value + ">",
			"list": []any{value, map[string]any{"{requester}": "T" + value}},
		}, got)
	})
}

// A proxy for http would see the URL and the key in it. net/http reads the
// environment once in a process, hence a process of its own.
func TestBugzillaProxy(t *testing.T) {
	t.Parallel()
	if os.Getenv("BUGZILLA_PROXY_TEST") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBugzillaProxy$", "-test.v")
		cmd.Env = append(os.Environ(), "BUGZILLA_PROXY_TEST=1", "http_proxy=http://proxy.example:1", "https_proxy=http://proxy.example:2", "no_proxy=", "NO_PROXY=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestBugzillaProxy")
		return
	}
	for target, want := range map[string]*url.URL{
		"http://bugzilla.example/rest?api_key=x": nil,
		"https://bugzilla.example/rest":          {Scheme: "http", Host: "proxy.example:2"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		require.NoError(t, err)
		got, err := httpsProxy(req)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestValidateBugTemplates(t *testing.T) {
	t.Parallel()
	require.NoError(t, ValidateBugTemplates(config.Bugzilla{}))
	require.NoError(t, ValidateBugTemplates(config.Bugzilla{RebootTemplate: DefaultRebootTemplate, TrackerTemplate: DefaultTrackerTemplate}))
	err := ValidateBugTemplates(config.Bugzilla{RebootTemplate: `{"product":"{nobody}"}`, TrackerTemplate: `{"product":1}`})
	require.ErrorContains(t, err, "BUGZILLA_REBOOT_TEMPLATE")
	require.ErrorContains(t, err, "BUGZILLA_WORKER_TRACKER_TEMPLATE")
}
