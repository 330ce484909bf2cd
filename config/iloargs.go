package config

import (
	"fmt"
	"slices"
	"strings"
)

// iloOptions are the old ilo_reboot's, by which WORKER_CONFIG_PATH's "ilo" may
// give a machine its account, and --fingerprint.
var iloOptions = []string{"--delay", "--fingerprint", "--login", "--password", "--timeout"}

// ilo reads [host, [arguments]].
func (s *servers) ilo(e *entry, m *draft) {
	n := e.need("ilo")
	if len(n.items) == 0 || len(n.items) > 2 {
		e.wrong(n.line, "\"ilo\" must be a list of the iLO's host and a list of arguments")
		return
	}
	host, ok := n.items[0].value.(string)
	if !ok || !isHost(host) {
		e.wrong(n.items[0].line, "\"ilo\" must begin with a host name or an IP address")
		return
	}
	b := &ILO{Host: strings.ToLower(host), Port: httpsPort}
	m.ILO = b
	s.claims.takeAs(controller(b.Host, b.Port, httpsPort), e.place("ilo"), "iLO "+b.Addr(), "belongs to", m.FQDN)
	if len(n.items) == 2 && len(n.items[1].items) > 0 {
		s.iloAccount(e, n.items[1], b)
	}
}

// iloAccount reads the arguments. No mistake's message has a value: it may be the
// password.
func (s *servers) iloAccount(e *entry, n *node, b *ILO) {
	options, err := parseILOOptions(e.items("ilo", n))
	if err != nil {
		e.wrong(n.line, "\"ilo\" %s", err)
		return
	}
	for _, name := range []string{"--delay", "--timeout"} {
		if _, ok := options[name]; ok {
			s.warnings = append(s.warnings, fmt.Sprintf("%s: %s: %q of \"ilo\" is not read: ILO_TIMEOUT counts for all machines", place{e.path, n.line}, e.about, name))
		}
	}
	user, password := options["--login"], options["--password"]
	switch {
	case (user == "") != (password == ""):
		e.wrong(n.line, "\"ilo\" must have both of --login and --password, or neither: then ILO_USERNAME and ILO_PASSWORD count")
	case strings.Contains(user, ":"): // RFC 7617, 2
		e.wrong(n.line, "\"ilo\" --login must not have a colon")
	case len(password) > maxHTTPPassword:
		e.wrong(n.line, "\"ilo\" --password is %d bytes long and must be %d at most", len(password), maxHTTPPassword)
	}
	if b.User = user; !s.namesOnly {
		b.Password = NewSecret(password)
	}
	if text := options["--fingerprint"]; text != "" {
		if b.Fingerprint, err = ParseFingerprint(text); err != nil {
			e.wrong(n.line, "\"ilo\" --fingerprint %s", err)
		}
	}
}

// parseILOOptions reads "--login", "x" as well as "--login=x" and "--login x".
func parseILOOptions(texts []string) (map[string]string, error) {
	options := map[string]string{}
	for i := 0; i < len(texts); i++ {
		name, value := texts[i], ""
		if at := strings.IndexAny(name, "= "); at >= 0 {
			name, value = name[:at], strings.TrimSpace(name[at+1:])
		} else if i++; i < len(texts) {
			value = texts[i]
		}
		if !slices.Contains(iloOptions, name) {
			return nil, fmt.Errorf("has an argument that is not known here; known are %s", quoted(iloOptions))
		}
		if _, twice := options[name]; twice || value == "" {
			return nil, fmt.Errorf("%s must stand once and have a value", name)
		}
		options[name] = value
	}
	return options, nil
}
