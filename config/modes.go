package config

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

const (
	secretMode = 0o077 // what a file with a secret should not have
	plainMode  = 0o022 // and one that says where commands go
)

// warnOfReaders warns of files with passwords that others may read, and of any
// file of the inventory that they may write.
func (r *reading) warnOfReaders(kind kindOfFile, path string) {
	named := map[string]bool{"ipmi.json": true, "ilo.json": true, "moonshot.json": true, "snmp_users.json": true}
	if named[kind.fallback] || kind.whole != nil {
		r.warnOfMode(path, "file with passwords", secretMode)
		return
	}
	r.warnOfMode(path, "file", plainMode)
}

// warnOfMode warns of bits that a file should not have. A file of another owner
// may let its group read: else this process could not, as ssh(1) has it, too.
func (r *reading) warnOfMode(path, what string, forbidden fs.FileMode) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		forbidden &^= 0o040
	}
	if open := info.Mode().Perm() & forbidden; open != 0 {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: this %s is open to others (mode %04o): chmod %s %s", path, what, info.Mode().Perm(), without(open), path))
	}
}

// without says in chmod's words that bits are taken away.
func without(bits fs.FileMode) string {
	var words []string
	for _, who := range []struct {
		letter string
		shift  int
	}{{"g", 3}, {"o", 0}} {
		// "-rw-r-----": the letters of all three classes, each where its bit is set.
		letters := (bits >> who.shift & 0o7).String()[7:]
		if letters = strings.ReplaceAll(letters, "-", ""); letters != "" {
			words = append(words, who.letter+"-"+letters)
		}
	}
	return strings.Join(words, ",")
}
