package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"
)

// key checks a private key file once, at the first place that names it. What the
// file holds stays out of the message.
func (r *reading) key(at place, path string) {
	if r.namesOnly || r.keys[path] {
		return
	}
	r.keys[path] = true
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		r.at(at, "key_file %q cannot be read: %s", path, cause(err))
		return
	}
	_, err = ssh.ParseRawPrivateKey(data)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		r.at(at, "key_file %q has a passphrase, which nobody is there to type", path)
	} else if err != nil {
		r.at(at, "key_file %q is not a private key (PEM or OpenSSH's own form)", path)
	}
	r.warnOfMode(path, "private key", 0o077) // as ssh(1) demands
}

// warnOfReaders warns of passwords that everybody on the host may read.
func (r *reading) warnOfReaders(kind kindOfFile, path string) {
	if kind.fallback == "ipmi.json" || kind.fallback == "snmp_users.json" {
		r.warnOfMode(path, "file with passwords", 0o007)
	}
}

func (r *reading) warnOfMode(path, what string, forbidden fs.FileMode) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&forbidden != 0 {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: this %s is open to others (mode %04o)", path, what, info.Mode().Perm()))
	}
}
