package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh/knownhosts"
)

// ValidateAPI checks what only the web server needs, and names every mistake at
// once.
func (c *Config) ValidateAPI() error {
	var mistakes []error
	if c.API.PublicURL == "" {
		mistakes = append(mistakes, errors.New("PUBLIC_URL: must be set: a Hawk header is signed for the address that clients see, like https://roller.example.com"))
	}
	if c.Taskcluster.RootURL == "" {
		mistakes = append(mistakes, errors.New("TASKCLUSTER_ROOT_URL: must be set: its auth service says who a requester is, like https://firefox-ci-tc.services.mozilla.com"))
	}
	mistakes = append(mistakes, together(variable{"TLS_CERT_FILE", c.API.TLSCertFile != ""}, variable{"TLS_KEY_FILE", c.API.TLSKeyFile != ""}))
	if c.API.TLSCertFile != "" && c.API.TLSKeyFile != "" {
		if _, err := tls.LoadX509KeyPair(c.API.TLSCertFile, c.API.TLSKeyFile); err != nil {
			mistakes = append(mistakes, fmt.Errorf("TLS_CERT_FILE=%q, TLS_KEY_FILE=%q: %s", c.API.TLSCertFile, c.API.TLSKeyFile, cause(err)))
		}
	}
	return errors.Join(mistakes...)
}

// ManagedHost reports whether a worker ID is one of those that roller may act
// on: VALID_WORKER_ID_REGEX matches all of it in lower case, or is not set.
func (a API) ManagedHost(workerID string) bool {
	if a.WorkerIDs == "" {
		return true
	}
	re, err := anchored(a.WorkerIDs)
	return err == nil && re.MatchString(strings.ToLower(workerID))
}

// anchored compiles a pattern so that it must match the whole. It must compile
// by itself first, so that nothing in it can reach out of the anchors.
func anchored(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// ValidateWorker checks what only the worker needs, the inventory files among
// it, and names every mistake at once.
func (c *Config) ValidateWorker() error {
	mistakes := []error{
		together(variable{"BUGZILLA_URL", c.Bugzilla.URL != ""}, variable{"BUGZILLA_API_KEY", !c.Bugzilla.APIKey.IsZero()}),
		together(variable{"XEN_URL", c.Devices.XenURL != ""}, variable{"XEN_USERNAME", c.Devices.XenUsername != ""}, variable{"XEN_PASSWORD", !c.Devices.XenPassword.IsZero()}),
		c.reachNotices(),
		together(variable{"ILO_USERNAME", c.Devices.ILOUsername != ""}, variable{"ILO_PASSWORD", !c.Devices.ILOPassword.IsZero()}),
	}
	v, err := LoadInventory(c.Files)
	if err != nil {
		return errors.Join(append(mistakes, err)...)
	}
	return errors.Join(append(mistakes, c.reach(v))...)
}

// reach checks that what all machines of a kind need is there.
func (c *Config) reach(v *Inventory) error {
	var mistakes []error
	machines := v.Machines()
	if slices.ContainsFunc(machines, func(m Machine) bool { return m.SSH != nil }) {
		_, err := os.Stat(c.Devices.KnownHostsFile)
		if errors.Is(err, fs.ErrNotExist) && c.Devices.HostKeys == HostKeysAcceptNew {
			_, err = os.Stat(filepath.Dir(c.Devices.KnownHostsFile)) // the file is made with the first key
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("SSH_KNOWN_HOSTS_FILE=%q: %s; it holds the host keys of the machines with an ssh entry (ssh-keyscan writes it)", c.Devices.KnownHostsFile, cause(err)))
		} else if _, err := knownhosts.New(c.Devices.KnownHostsFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			mistakes = append(mistakes, fmt.Errorf("SSH_KNOWN_HOSTS_FILE=%q: %w", c.Devices.KnownHostsFile, err))
		}
	}
	for _, missing := range []struct {
		is   bool
		of   func(Outlet) bool
		text string
	}{
		{c.Devices.SNMPCommunity.IsZero() && v.Community.IsZero(), func(o Outlet) bool { return o.Version != SNMPv3 }, "SNMP_COMMUNITY: must be set: the inventory has machines on a PDU"},
		{c.Devices.SNMPv3.User == "", func(o Outlet) bool { return o.Version == SNMPv3 && o.V3 == nil }, "SNMP_V3_USER: must be set: the inventory has machines on a PDU with version 3 and no \"v3\""},
	} {
		if missing.is && slices.ContainsFunc(machines, func(m Machine) bool { return slices.ContainsFunc(m.Outlets, missing.of) }) {
			mistakes = append(mistakes, errors.New(missing.text))
		}
	}
	if c.Sight.UptimeCommunity.IsZero() && slices.ContainsFunc(machines, func(m Machine) bool { return m.Uptime != nil && m.Uptime.V3 == nil }) {
		mistakes = append(mistakes, errors.New("UPTIME_COMMUNITY: must be set: the inventory has an uptime entry with version 2c; machines must not learn SNMP_COMMUNITY"))
	}
	if slices.ContainsFunc(machines, func(m Machine) bool { return m.Xen != nil }) {
		mistakes = append(mistakes, c.Devices.ValidateXen())
	}
	return errors.Join(append(mistakes, c.reachILO(machines)...)...)
}

// reachILO checks what machines with an iLO share.
func (c *Config) reachILO(machines []Machine) []error {
	var mistakes []error
	if c.Devices.ILOUsername == "" && slices.ContainsFunc(machines, func(m Machine) bool { return m.ILO != nil && m.ILO.User == "" }) {
		mistakes = append(mistakes, errors.New("ILO_USERNAME: must be set: the inventory has an ilo entry without a user"))
	}
	if _, err := c.Devices.ILORoots(); err != nil {
		mistakes = append(mistakes, err)
	}
	return mistakes
}

// ValidateXen checks how the pool is reached: the password goes nowhere unencrypted.
func (d Devices) ValidateXen() error {
	if d.XenURL != "" && !strings.HasPrefix(d.XenURL, "https://") {
		return errors.New("XEN_URL: must begin with https://: the password goes over it")
	}
	if d.XenCAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(d.XenCAFile)
	if err != nil {
		return fmt.Errorf("XEN_CA_FILE=%q: %s", d.XenCAFile, cause(err))
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("XEN_CA_FILE=%q: holds no PEM certificate", d.XenCAFile)
	}
	return nil
}

// variable is one of some that mean something only together.
type variable struct {
	name string
	set  bool
}

// together fails where only some of the variables are set.
func together(variables ...variable) error {
	var with, without []string
	for _, v := range variables {
		if v.set {
			with = append(with, v.name)
		} else {
			without = append(without, v.name)
		}
	}
	if len(with) == 0 || len(without) == 0 {
		return nil
	}
	return fmt.Errorf("%s: must be set too, because %s is", strings.Join(without, ", "), strings.Join(with, ", "))
}
