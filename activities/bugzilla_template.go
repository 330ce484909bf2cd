package activities

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/mozilla-platform-ops/roller/config"
)

// DefaultRebootTemplate is BUGZILLA_REBOOT_TEMPLATE where none is set.
const DefaultRebootTemplate = `{
  "product": "Infrastructure & Operations",
  "component": "DCOps",
  "version": "unspecified",
  "summary": "{fqdn} is unreachable",
  "description": "{fqdn} did not come back.\n{task} was requested by {requester}."
}`

// DefaultTrackerTemplate is BUGZILLA_WORKER_TRACKER_TEMPLATE where none is set.
const DefaultTrackerTemplate = `{
  "product": "Infrastructure & Operations",
  "component": "CIDuty",
  "version": "unspecified",
  "summary": "[{dc}] {alias} problem tracking",
  "description": "Tracks the problems of {fqdn}."
}`

// placeholder is {name}, or ${name} as the old service had it.
var placeholder = regexp.MustCompile(`\$?\{([A-Za-z_]+)\}`)

// BugTemplate is the JSON object that creates a bug, with placeholders in its
// strings. It is parsed before anything is filled in, so that no value can
// change its shape. The zero value is not usable.
type BugTemplate struct {
	fields map[string]any
	names  map[string]bool // the placeholders in it
}

// ParseBugTemplate reads a template and reports every mistake in it. The old
// service's templates are read too; their api_key and blocks are dropped, since
// roller sends the key itself and links the bugs in a request of its own.
func ParseBugTemplate(text string) (BugTemplate, error) {
	t := BugTemplate{names: map[string]bool{}}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&t.fields); err != nil {
		return BugTemplate{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return BugTemplate{}, errors.New("text after the JSON object")
	}
	mistakes := t.dropOldFields()
	for _, field := range []string{"product", "component", "summary"} {
		if s, _ := t.fields[field].(string); s == "" {
			mistakes = append(mistakes, field+" is not a string with text in it")
		}
	}
	if v, ok := t.fields["description"]; ok && !isString(v) {
		mistakes = append(mistakes, "description is not a string")
	}
	mistakes = append(mistakes, t.collect()...)
	if len(mistakes) > 0 {
		return BugTemplate{}, errors.New(strings.Join(mistakes, "; "))
	}
	return t, nil
}

func isString(v any) bool {
	_, ok := v.(string)
	return ok
}

// dropOldFields removes what the old service's templates had to carry. A key
// written out is a mistake, which is reported without showing it.
func (t BugTemplate) dropOldFields() (mistakes []string) {
	for field, value := range map[string]string{"api_key": "${api_key}", "blocks": "${blocks}"} {
		if had, ok := t.fields[field]; ok && had != value {
			mistakes = append(mistakes, field+" does not belong in a template")
		}
		delete(t.fields, field)
	}
	slices.Sort(mistakes)
	return mistakes
}

// collect notes the placeholders in use and returns a mistake for each unknown one.
func (t BugTemplate) collect() (mistakes []string) {
	walk(t.fields, func(s string) string {
		for _, m := range placeholder.FindAllStringSubmatch(s, -1) {
			t.names[m[1]] = true
		}
		return s
	})
	known := bugValues(Bug{}, "")
	for _, name := range slices.Sorted(maps.Keys(t.names)) {
		if _, ok := known[name]; !ok {
			mistakes = append(mistakes, fmt.Sprintf("unknown placeholder {%s}", name))
		}
	}
	return mistakes
}

func (t BugTemplate) uses(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return t.names[name] })
}

// expand fills in the values, each as it is. A field that is left empty is
// dropped, and the version that Bugzilla insists on is added.
func (t BugTemplate) expand(values map[string]string) map[string]any {
	fill := func(s string) string {
		return placeholder.ReplaceAllStringFunc(s, func(match string) string {
			return values[strings.Trim(match, "${}")]
		})
	}
	out := map[string]any{"version": "unspecified"}
	for field, value := range t.fields {
		if filled := walk(value, fill); filled != "" {
			out[field] = filled
		}
	}
	return out
}

// walk returns a copy of a JSON value with every string in it changed; keys
// stay as they are.
func walk(value any, change func(string) string) any {
	switch v := value.(type) {
	case string:
		return change(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = walk(v[i], change)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = walk(v[k], change)
		}
		return out
	}
	return value
}

// ValidateBugTemplates checks the templates that the environment gives, which
// otherwise would be found wrong when a bug has to be filed.
func ValidateBugTemplates(b config.Bugzilla) error {
	var mistakes []error
	for name, text := range map[string]string{
		"BUGZILLA_REBOOT_TEMPLATE": b.RebootTemplate, "BUGZILLA_WORKER_TRACKER_TEMPLATE": b.TrackerTemplate,
	} {
		if text == "" {
			continue
		}
		if _, err := ParseBugTemplate(text); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(mistakes...)
}
