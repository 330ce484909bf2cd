package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
)

const (
	httpsPort = 443 // RFC 9110, 4.2.2; Redfish and HP's REST have no port of their own
	// maxHTTPPassword is a bound of roller's own: RFC 7617 has none, and an
	// iLO 5 takes 39 characters.
	maxHTTPPassword = 255
)

// ILO is the machine's own BMC where it speaks Redfish.
type ILO struct {
	Host        string // FQDN of the machine unless the entry has "addr"
	Port        int    // TCP, 443 unless the entry says otherwise
	User        string // "": ILO_USERNAME and ILO_PASSWORD
	Password    Secret
	Fingerprint Fingerprint // of its certificate; "": a CA must have signed it
}

// Addr returns host:port.
func (b ILO) Addr() string { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port)) }

// Moonshot is the machine as a node of an HP Moonshot chassis, whose manager
// many machines share.
type Moonshot struct {
	Host        string // the chassis manager
	Port        int    // TCP, 443 unless the entry says otherwise
	User        string
	Password    Secret
	Node        string      // "c45n1": cartridge 1 to 45, node 1 to 4, in lower case
	Fingerprint Fingerprint // of the manager's certificate; "": a CA must have signed it
}

// Addr returns host:port.
func (b Moonshot) Addr() string { return net.JoinHostPort(b.Host, strconv.Itoa(b.Port)) }

// nodeForm: a Moonshot 1500 chassis has 45 cartridges, a cartridge up to four
// nodes (HP Moonshot System, user guide).
var nodeForm = regexp.MustCompile(`\Ac([1-9]|[1-3][0-9]|4[0-5])n[1-4]\z`)

// ilo reads {"ilo": {"user", "password"}, "addr", "port", "fingerprint",
// "probe"}. An empty "ilo" has the account of the environment. A machine without
// an entry has no iLO: the password would be shown to whoever has its name.
func (r *reading) ilo(e *entry, m *draft) {
	b := ILO{Host: e.host(m.FQDN), Port: e.port(httpsPort), Fingerprint: e.fingerprint()}
	n := e.need("ilo")
	if n == nil {
		return
	}
	in := r.object(e.path, e.about+": ilo", n, "user", "password")
	if in.has("user") || in.has("password") {
		b.User, b.Password = in.account(r.namesOnly)
	}
	m.ILO = &b
	r.claims.takeAs(controller(b.Host, b.Port, httpsPort), e.place("addr"), "iLO "+b.Addr(), "belongs to", m.FQDN)
}

// moonshot reads {"moonshot": {"user", "password", "node"}, "addr", "port",
// "fingerprint", "probe"}; "addr" is the chassis manager.
func (r *reading) moonshot(e *entry, m *draft) {
	b := Moonshot{Port: e.port(httpsPort), Fingerprint: e.fingerprint()}
	if e.need("addr") != nil {
		b.Host = e.host("")
	}
	n := e.need("moonshot")
	if n == nil {
		return
	}
	in := r.object(e.path, e.about+": moonshot", n, "user", "password", "node")
	b.User, b.Password = in.account(r.namesOnly)
	b.Node = strings.ToLower(in.text("node"))
	if b.Node != "" && !nodeForm.MatchString(b.Node) {
		in.wrong(in.place("node").line, "\"node\" %q is not a node: they are c1n1 to c45n4", b.Node)
	}
	m.Moonshot = &b
	r.claims.take(in.place("node"), "node "+b.Node+" of "+b.Addr(), "belongs to", m.FQDN)
}

// account reads "user" and "password" of an account for HTTP.
func (e *entry) account(namesOnly bool) (string, Secret) {
	user, password := e.text("user"), e.secret("password", maxHTTPPassword)
	if strings.Contains(user, ":") { // RFC 7617, 2
		e.wrong(e.place("user").line, "\"user\" must not have a colon")
	}
	if namesOnly {
		password = Secret{}
	}
	return user, password
}

// fingerprint returns the optional "fingerprint".
func (e *entry) fingerprint() Fingerprint {
	if !e.has("fingerprint") {
		return ""
	}
	text := e.text("fingerprint")
	if text == "" {
		return ""
	}
	f, err := ParseFingerprint(text)
	if err != nil {
		e.wrong(e.place("fingerprint").line, "\"fingerprint\" %s", err)
	}
	return f
}

// ILORoots returns who may sign certificates that are not pinned; nil are the
// system's roots.
func (d Devices) ILORoots() (*x509.CertPool, error) {
	if d.ILOCAFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(d.ILOCAFile)
	if err != nil {
		return nil, fmt.Errorf("ILO_CA_FILE=%q: %s", d.ILOCAFile, cause(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ILO_CA_FILE=%q: holds no certificate in PEM", d.ILOCAFile)
	}
	return pool, nil
}
