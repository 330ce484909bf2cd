package config

import (
	"fmt"
	"regexp"
	"strings"
)

// AnyGroup is what a requester who does not know a machine's group says.
const AnyGroup = "none"

// nameForm is the old service's form of a worker ID and a worker group.
var nameForm = regexp.MustCompile(`\A[-_0-9a-zA-Z]{1,128}\z`)

// ValidateName checks the form of a worker ID and a worker group as people
// spell them, and returns the messages of each wrong field by the field's name;
// it is empty when both are right. The group may be "none".
func ValidateName(workerID, workerGroup string) map[string][]string {
	problems := map[string][]string{}
	for field, value := range map[string]string{"worker_id": workerID, "worker_group": workerGroup} {
		if messages := nameProblems(value); len(messages) > 0 {
			problems[field] = messages
		}
	}
	return problems
}

func nameProblems(value string) []string {
	var messages []string
	if !nameForm.MatchString(value) {
		messages = append(messages, "must be 1 to 128 characters out of letters, digits, - and _")
	}
	if strings.HasPrefix(value, "-") { // it may become an argument of a program
		messages = append(messages, "must not begin with -")
	}
	return messages
}

// The placeholders of FQDN_TEMPLATES.
const (
	idHole    = "{worker_id}"
	groupHole = "{worker_group}"
)

// fqdnForm is one entry of FQDN_TEMPLATES, ready to be matched.
type fqdnForm struct{ *regexp.Regexp }

// parseTemplate compiles one entry of FQDN_TEMPLATES.
func parseTemplate(template string) (fqdnForm, error) {
	if strings.Count(template, idHole) != 1 || strings.Count(template, groupHole) != 1 {
		return fqdnForm{}, fmt.Errorf("a template needs %s and %s, each once", idHole, groupHole)
	}
	if rest := strings.NewReplacer(idHole, "", groupHole, "").Replace(template); !hostForm.MatchString("a" + rest) {
		return fqdnForm{}, fmt.Errorf("a template is a host name with no other placeholders than %s and %s", idHole, groupHole)
	}
	form := regexp.QuoteMeta(strings.ToLower(template))
	form = strings.Replace(form, regexp.QuoteMeta(idHole), `(?P<id>[_0-9a-z][-_0-9a-z]{0,127})`, 1)
	form = strings.Replace(form, regexp.QuoteMeta(groupHole), `(?P<group>[_0-9a-z][-_0-9a-z]{0,127})`, 1)
	re, err := regexp.Compile(`\A` + form + `\z`)
	return fqdnForm{re}, err
}

// name takes a host name apart; ok is false where it is not of this form.
func (f fqdnForm) name(fqdn string) (n Name, ok bool) {
	m := f.FindStringSubmatch(strings.ToLower(fqdn))
	if m == nil {
		return Name{}, false
	}
	return Name{WorkerID: m[f.SubexpIndex("id")], WorkerGroup: m[f.SubexpIndex("group")]}, true
}

// defaultTemplates are the host names of the old service's machines.
var defaultTemplates = []string{
	idHole + ".test.releng." + groupHole + ".mozilla.com",
	idHole + ".wintest.releng." + groupHole + ".mozilla.com",
}

// SplitFQDN takes a full host name apart by the first template that fits; ok is
// false where none does. A template that is none fits nothing.
func SplitFQDN(templates []string, fqdn string) (n Name, ok bool) {
	for _, template := range templates {
		form, err := parseTemplate(template)
		if err != nil {
			continue
		}
		if n, ok = form.name(fqdn); ok {
			return n, true
		}
	}
	return Name{}, false
}
