package activities

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// SiteBug is the input of BugzillaFileSite: a site that no worker sees.
type SiteBug struct {
	Site  string    `json:"site"`
	Since time.Time `json:"since"` // of the job that tells
}

// siteText is the report. It names neither machine nor canary, and of the time
// only the day: all jobs that end blind on one day say the same, so that the
// first of them files the bug and the others find it said. Bugs are public.
const siteText = `roller cannot see %[1]s: on %[2]s (UTC) none of the canary hosts of that site answered its workers.

Jobs on machines of %[1]s ended with the outcome "blind". Nothing is known about the machines; what roller had powered off it has powered on, or says so in a bug of the machine's own.

Either the network between roller's workers and the site is down, or all canary hosts are.`

// BugzillaFileSite reports a site that cannot be seen: in its open bug if there is
// one, else in a new one, with the product, component and people of
// BUGZILLA_REBOOT_TEMPLATE. Errors: as BugzillaFile.
func (a *Activities) BugzillaFileSite(ctx context.Context, in SiteBug) (BugResult, error) {
	f, err := newSiteFiling(a.Config.Bugzilla, in)
	if err != nil {
		return BugResult{}, fail(err)
	}
	defer f.client.close()
	var result BugResult
	if err := f.client.login(ctx); err != nil {
		return result, failFiling(err, f.client.http.Timeout)
	}
	err = f.report(ctx, &result)
	if err == nil {
		result.URL = f.client.showURL(result.ID)
	}
	return result, failFiling(err, f.client.http.Timeout)
}

func newSiteFiling(cfg config.Bugzilla, in SiteBug) (*filing, error) {
	if in.Site == "" {
		return nil, meaning(BadInput, "bugzilla: the site has no name")
	}
	template, err := ParseBugTemplate(cmp.Or(cfg.RebootTemplate, DefaultRebootTemplate))
	if err != nil {
		return nil, refused("BUGZILLA_REBOOT_TEMPLATE: %w", err)
	}
	client, err := newBugzilla(cfg)
	if err != nil {
		return nil, err
	}
	site := strings.ToUpper(in.Site)
	f := &filing{client: client}
	f.reboot = template.expand(bugValues(Bug{Machine: config.Name{WorkerID: in.Site, WorkerGroup: in.Site}, FQDN: in.Site}, ""))
	f.reboot["summary"] = fmt.Sprintf("[%s] roller cannot see this site", site)
	f.reboot["description"] = fmt.Sprintf(siteText, site, in.Since.UTC().Format(time.DateOnly))
	copied(f.reboot, nil)
	return f, nil
}
