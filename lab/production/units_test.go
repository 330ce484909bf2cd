//go:build production

package production

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unitDir is where deploy/install puts the units.
const unitDir = "/etc/systemd/system"

// systemctl does what the documented commands ask systemd for, on a machine
// where it is not process 1: it reads the installed unit files and runs what
// they say, as an unprivileged user with the capabilities that they grant.
func systemctl(args []string) error {
	verb, units := args[0], args[1:]
	if len(units) > 0 && units[0] == "--now" {
		units = units[1:]
	}
	for _, name := range units {
		name = strings.TrimSuffix(name, ".service")
		switch {
		case name == "postgresql":
			if out, err := exec.Command("pg_ctlcluster", "15", "main", "start").CombinedOutput(); err != nil {
				return fmt.Errorf("postgresql: %w\n%s", err, out)
			}
		case verb == "enable" || verb == "start":
			if err := start(name, map[string]bool{}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("systemctl %s: the documents say nothing of it", verb)
		}
	}
	return nil
}

// unit is a unit file: each setting with its values in order. An empty value
// takes the ones before it back (systemd.unit(5)).
type unit map[string][]string

func readUnit(path string) (unit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u := unit{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if value == "" {
			delete(u, key)
			continue
		}
		u[key] = append(u[key], value)
	}
	return u, lines.Err()
}

func (u unit) one(key string) string { return strings.Join(u[key], " ") }

// start runs a unit after those that it wants or requires and is ordered after.
func start(name string, started map[string]bool) error {
	if started[name] {
		return nil
	}
	started[name] = true
	running := filepath.Join("/run", "started."+name)
	if _, err := os.Stat(running); err == nil {
		return nil
	}
	u, err := readUnit(filepath.Join(unitDir, name+".service"))
	if err != nil {
		return err
	}
	for other := range strings.FieldsSeq(u.one("Requires") + " " + u.one("Wants")) {
		if other, ok := strings.CutSuffix(other, ".service"); ok {
			if err := start(other, started); err != nil {
				return err
			}
		}
	}
	if err := run(name, u); err != nil {
		return fmt.Errorf("unit %s: %w", name, err)
	}
	return os.WriteFile(running, nil, 0o600)
}

// run executes a unit. A oneshot that restarts on failure is repeated.
func run(name string, u unit) error {
	oneshot := u.one("Type") == "oneshot"
	for tries := 0; ; tries++ {
		cmd, err := command(name, u)
		if err != nil {
			return err
		}
		if !oneshot {
			return cmd.Start() // it lives as long as the namespace
		}
		if err = cmd.Run(); err == nil {
			return nil
		}
		if u.one("Restart") != "on-failure" || tries == 10 {
			said, _ := os.ReadFile(logOf(name))
			return fmt.Errorf("%w\n%s", err, said)
		}
		<-time.After(time.Second) // RestartSec
	}
}

func logOf(name string) string { return filepath.Join("/run", name+".log") }

func command(name string, u unit) (*exec.Cmd, error) {
	out, err := os.OpenFile(logOf(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	argv := strings.Fields(u.one("ExecStart"))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, u.one("WorkingDirectory")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Env = append(cmd.Env, u["Environment"]...)
	for _, path := range u["EnvironmentFile"] {
		vars, err := readEnv(path)
		if err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, vars...)
	}
	who, err := dynamicUser(u)
	if err != nil {
		return nil, err
	}
	if state := u.one("StateDirectory"); state != "" {
		path := filepath.Join("/var/lib", state)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setsid: true, AmbientCaps: capabilities(u)}
	return cmd, nil
}

// dynamicUser stands for the one that DynamicUser=yes makes up.
func dynamicUser(u unit) (*syscall.Credential, error) {
	if u.one("DynamicUser") != "yes" {
		return nil, fmt.Errorf("runs as root")
	}
	const nobody = 65534
	c := &syscall.Credential{Uid: nobody, Gid: nobody}
	for _, name := range u["SupplementaryGroups"] {
		group, err := user.LookupGroup(name)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(group.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		c.Groups = append(c.Groups, uint32(gid))
	}
	return c, nil
}

func capabilities(u unit) []uintptr {
	if u.one("AmbientCapabilities") == "CAP_NET_RAW" {
		return []uintptr{unix.CAP_NET_RAW}
	}
	return nil
}

// readEnv reads a file as EnvironmentFile= does (systemd.exec(5)).
func readEnv(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var vars []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			vars = append(vars, line)
		}
	}
	return vars, nil
}
