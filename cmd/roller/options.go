package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mozilla-platform-ops/roller/config"
)

// options are the old service's, of all actions together.
type options struct {
	direct   bool
	explicit []string // names of the flags that describe a machine
	environ  []string
	in       io.Reader
	how      following // of the job
	errOut   io.Writer

	count     int
	deadline  seconds
	host      string
	user      string
	password  string
	key       string
	port      int
	timeout   seconds
	delay     seconds
	lan       string
	privilege string
	suite     int

	statusWait  seconds
	statusEvery seconds
	fingerprint string
	caFile      string
}

// named reports whether the command line describes a machine itself, and does
// not only name one of the inventory. The options of ping describe none.
func (o *options) named(cmd *cobra.Command, args []string) bool {
	if len(args) > 2 {
		return true
	}
	if cmd.Name() == "ping" {
		return false
	}
	return slices.ContainsFunc(o.explicit, cmd.Flags().Changed)
}

// seconds is a time as the old service took it, a number of seconds, or 1m30s.
type seconds time.Duration

// String implements pflag.Value.
func (s *seconds) String() string {
	return strconv.FormatFloat(time.Duration(*s).Seconds(), 'f', -1, 64)
}

// Set implements pflag.Value.
func (s *seconds) Set(text string) error {
	var d config.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil || d < 0 {
		return errors.New("must be a number of seconds, or a time like 1m30s")
	}
	*s = seconds(d)
	return nil
}

// Type implements pflag.Value.
func (s *seconds) Type() string { return "seconds" }

// secret returns a password: the variable's value unless the option is given,
// the first line of the standard input for "-", and with a warning the option's
// own value, which everybody on this machine can read.
func (o *options) secret(option, variable string) (config.Secret, error) {
	switch o.password {
	case "":
		for _, pair := range o.environ {
			if value, ok := strings.CutPrefix(pair, variable+"="); ok {
				return config.NewSecret(value), nil
			}
		}
		return config.Secret{}, usage("there is no password: set %s, or say %s - and give it on the standard input", variable, option)
	case "-":
		line, err := bufio.NewReader(o.in).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return config.Secret{}, usage("%s -: there is no password on the standard input (%w)", option, err)
		}
		return config.NewSecret(line), nil
	}
	fmt.Fprintf(o.errOut, "warning: everybody on this machine can read a password on a command line: use %s - or %s\n", option, variable)
	return config.NewSecret(o.password), nil
}

// hostPort takes host:port apart, with a port for hosts that have none.
func hostPort(text string, otherwise int) (string, int, error) {
	if strings.Count(text, ":") != 1 && !strings.HasPrefix(text, "[") {
		return text, otherwise, nil // a name, or an IPv6 address without brackets
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, usage("%q is not a host or host:port", text)
	}
	n, err := checkPort(port)
	return host, n, err
}

const maxPort = 1<<16 - 1

func checkPort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, usage("%q is not a port: 1 to 65535", text)
	}
	return int(n), nil
}

// given is a machine that is in no inventory: its host name stands for all.
func given(host string) (config.Machine, error) {
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsAny(host, " \t\r\n/@") {
		return config.Machine{}, usage("%q is not a host name or an address", host)
	}
	host = strings.ToLower(host)
	return config.Machine{
		Name: config.Name{WorkerID: host, WorkerGroup: "direct"}, FQDN: host, Addr: host,
		Probe: config.Probe{Network: "icmp"},
	}, nil
}

// exit is an error with an exit status of its own.
type exit struct {
	status int
	err    error // nil: everything has been said
}

// Error implements error.
func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

// Unwrap returns the error.
func (e *exit) Unwrap() error { return e.err }

// usage is the error of a command line that cannot be carried out. Its status
// is that of ping and of most programs.
func usage(format string, args ...any) error {
	return &exit{status: 2, err: fmt.Errorf(format, args...)}
}

// wrap breaks a text into lines of at most 80 characters; its own breaks stay.
func wrap(text string) string {
	const width = 80
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		var current string
		for word := range strings.FieldsSeq(line) {
			if current != "" && len(current)+1+len(word) > width {
				out = append(out, current)
				current = ""
			}
			current = strings.TrimPrefix(current+" "+word, " ")
		}
		out = append(out, current)
	}
	return strings.Join(out, "\n")
}
