package activities

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mozilla-platform-ops/roller/config"
)

// plainWords is what a public bug may say of a rung or an outcome: no dot, colon,
// slash, at sign or backslash, so that no address, path or account fits in.
var plainWords = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9 _,'-]{0,79}$`)

// bugValues are the placeholders of a bug template. Those in the second half
// are the old service's names for them; cc and ip, which it filled from a
// private inventory, are empty now: see copied.
func bugValues(in Bug, outlets string) map[string]string {
	dc := strings.ToUpper(in.Machine.WorkerGroup)
	requester := cmp.Or(in.RequestedBy, "nobody known")
	return map[string]string{
		"host":      in.Machine.WorkerID,
		"alias":     in.Machine.WorkerID,
		"group":     in.Machine.WorkerGroup,
		"fqdn":      in.FQDN,
		"dc":        dc,
		"requester": requester,
		"task":      in.Task,
		"task_id":   in.TaskID,
		"attempts":  attemptLines(in.Attempts),
		"outlets":   outlets,

		"hostname":  in.FQDN,
		"DC":        dc,
		"client_id": requester,
		"log":       attemptLines(in.Attempts),
		"cc":        "",
		"ip":        "",
	}
}

// offLine and onLine are the first lines of what bugs say of a machine's power.
func offLine(in Bug) string {
	return in.FQDN + " was powered OFF by roller and could not be powered on again."
}

func onLine(in Bug) string { return in.FQDN + " is powered ON again, by roller." }

// bugText is the report: first of all that roller left the machine dark, if it
// did; then the template's text; then what the template did not ask for.
func bugText(in Bug, outlets string, template BugTemplate, expanded map[string]any) string {
	var parts []string
	if in.Off {
		parts = append(parts, offLine(in))
	}
	if text, ok := expanded["description"].(string); ok {
		parts = append(parts, strings.TrimSpace(text))
	}
	if lines := attemptLines(in.Attempts); lines != "" && !template.uses("attempts", "log") {
		parts = append(parts, lines)
	}
	if outlets != "" && !template.uses("outlets") {
		parts = append(parts, "Fed by "+outlets+".")
	}
	if in.TaskID != "" && !template.uses("task_id") {
		parts = append(parts, "roller task "+in.TaskID)
	}
	return strings.Join(parts, "\n\n")
}

// attemptLines has one line a rung.
func attemptLines(attempts []BugLine) string {
	var lines []string
	for _, a := range attempts {
		line := fmt.Sprintf("- %s: %s", publicWords(a.Rung), publicWords(a.Outcome))
		if !a.At.IsZero() {
			line += " (" + a.At.UTC().Format(time.RFC3339) + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// publicOutlets names the outlets that feed a machine, where bugs may tell them.
// A machine that has left the inventory has none.
func (a *Activities) publicOutlets(name config.Name) string {
	if !slices.Contains(a.Config.Bugzilla.PublicDetails, config.DetailOutlets) {
		return ""
	}
	m, err := a.lookup(name)
	if err != nil {
		return ""
	}
	var outlets []string
	for _, o := range m.Outlets {
		outlets = append(outlets, o.String())
	}
	return strings.Join(outlets, ", ")
}

// bugCC is who the inventory says is copied on the machine's bugs.
func (a *Activities) bugCC(name config.Name) []string {
	m, err := a.lookup(name)
	if err != nil { // it has left the inventory
		return nil
	}
	return m.BugCC
}

// copied adds people to those that a template copies. Bugzilla takes a list; the
// old templates had a text.
func copied(bug map[string]any, cc []string) {
	var all []any
	switch v := bug["cc"].(type) {
	case string:
		for who := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(who))
		}
	case []any:
		all = v
	}
	for _, who := range cc {
		if !slices.Contains(all, any(who)) {
			all = append(all, who)
		}
	}
	if len(all) > 0 {
		bug["cc"] = all
	}
}

func publicWords(s string) string {
	if plainWords.MatchString(s) {
		return s
	}
	return "(not public)"
}
