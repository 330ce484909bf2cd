package config

import (
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// written is a directory with inventory files and a private key.
type written struct {
	dir, key string
	files    Files
}

// write writes inventory files; KEY in them stands for the path of a good key.
func write(t *testing.T, contents map[string]string) written {
	t.Helper()
	w := written{dir: t.TempDir()}
	w.key = filepath.Join(w.dir, "ssh.key")
	writeKey(t, w.key, "")
	for name, field := range map[string]*string{"ssh.json": &w.files.SSH, "ipmi.json": &w.files.IPMI, "pdus.json": &w.files.PDU, "xen.json": &w.files.Xen, "ilo.json": &w.files.ILO, "moonshot.json": &w.files.Moonshot, "taskcluster.json": &w.files.Taskcluster, "pdu_profiles.json": &w.files.PDUProfiles, "snmp_users.json": &w.files.SNMPUsers} {
		content, ok := contents[name]
		if !ok {
			content = "{}"
		}
		*field = filepath.Join(w.dir, name)
		require.NoError(t, os.WriteFile(*field, []byte(strings.ReplaceAll(content, "KEY", w.key)), 0o600))
	}
	return w
}

func writeKey(t *testing.T, path, passphrase string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
}

// envDist is .env-dist: every variable with its value, also those behind a #.
func envDist(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../.env-dist")
	require.NoError(t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "#"), "=")
		if !ok || strings.Contains(name, " ") {
			continue
		}
		require.NotContains(t, values, name, "stands twice")
		values[name] = value
	}
	return values
}

func TestEnvDistHasEveryVariable(t *testing.T) {
	t.Parallel()
	e := newEnviron(nil)
	e.config()
	read := map[string]bool{}
	for _, name := range e.read {
		read[name] = true
	}
	dist := envDist(t)
	for name := range read {
		require.Contains(t, dist, name, "not documented in .env-dist")
	}
	for name := range dist {
		// Temporal's own variables are read by its SDK.
		require.True(t, read[name] || strings.HasPrefix(name, "TEMPORAL_"), "%s stands in .env-dist and nothing reads it", name)
	}
	require.Greater(t, len(read), 40)
}

func TestEnvDistShowsTheDefaults(t *testing.T) {
	t.Parallel()
	var environ []string
	for name, value := range envDist(t) {
		environ = append(environ, name+"="+value)
	}
	got, err := Load(environ)
	require.NoError(t, err)
	want, err := Load([]string{"ROLLER_CONFIGURATION=Dev"})
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestSamples(t *testing.T) {
	t.Parallel()
	contents := map[string]string{}
	for _, kind := range kindsOfFiles {
		data, err := os.ReadFile(filepath.Join("../deploy/samples", kind.fallback))
		require.NoError(t, err)
		contents[kind.fallback] = strings.ReplaceAll(string(data), "/etc/roller/ssh.key", "KEY")
	}
	v, err := LoadInventory(write(t, contents).files)
	require.NoError(t, err)
	require.Empty(t, v.Warnings)
	var accounts, bmcs, outlets, vms int
	for _, m := range v.Machines() {
		outlets += len(m.Outlets)
		for count, has := range map[*int]bool{&accounts: m.SSH != nil, &bmcs: m.IPMI != nil, &vms: m.Xen != nil} {
			if has {
				*count++
			}
		}
	}
	require.Equal(t, []int{4, 2, 7, 1}, []int{accounts, bmcs, outlets, vms})
}
