package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Machine is where the numbers are from.
type Machine struct {
	Hardware Hardware          `json:"hardware"`
	Versions map[string]string `json:"versions"`
}

// Hardware is what makes two runs' numbers comparable.
type Hardware struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
}

// String is the machine in one line.
func (m Machine) String() string {
	var versions []string
	for name, v := range sorted(m.Versions) {
		versions = append(versions, name+" "+v)
	}
	h := m.Hardware
	return fmt.Sprintf("%d cores of %s, %s, Linux %s; %s.", h.Cores, h.CPU, h.Memory, h.Kernel, strings.Join(versions, ", "))
}

// describe looks at this machine.
func describe(ctx context.Context) Machine {
	m := Machine{
		Hardware: Hardware{
			CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
			Memory: field("/proc/meminfo", "MemTotal"), Kernel: firstWord("/proc/sys/kernel/osrelease"),
		},
		Versions: map[string]string{"Go": strings.TrimPrefix(runtime.Version(), "go")},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "go.temporal.io/sdk" {
				m.Versions["Temporal's SDK"] = strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	for name, args := range map[string][]string{"ipmitool": {"-V"}, "snmpget": {"-V"}, "ssh": {"-V"}} {
		if v := version(ctx, name, args...); v != "" {
			m.Versions[name] = v
		}
	}
	return m
}

// field is a line of /proc's files of "name : value"; "unknown" where it is not there.
func field(path, name string) string {
	text, _ := os.ReadFile(path) //nolint:gosec // /proc's own
	for line := range strings.Lines(string(text)) {
		if key, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func firstWord(path string) string {
	text, _ := os.ReadFile(path) //nolint:gosec // /proc's own
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return word
}

// version is the first word with a digit that a program says of itself, "" of one
// that is not installed.
func version(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	said, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // the tools that are compared
	if err != nil {
		return ""
	}
	for word := range strings.FieldsSeq(string(said)) {
		if strings.ContainsAny(word, "0123456789") {
			return strings.Trim(word, ",")
		}
	}
	return "unknown"
}

// sorted yields a map's entries by their keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
