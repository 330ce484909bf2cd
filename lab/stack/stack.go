package stack

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
)

// Options say where everything is.
type Options struct {
	Dir       string            // logs and the database
	Roller    string            // the binary
	Temporal  string            // the CLI's binary
	Database  bool              // keep Temporal's state in a file, so that it survives Temporal's restart
	UI        bool              // with Web UI
	Listen    string            // the dev server's address, 127.0.0.1 if empty
	Env       map[string]string // roller's environment beside what the stack itself sets
	Namespace string            // "default" if empty
	Preferred bool              // try the well-known ports first (7233, 8233, 8000)

	Running    string            // host:port of a Temporal that runs already, in place of the dev server
	Production *Production       // Temporal's server on PostgreSQL, likewise
	ServerEnv  map[string]string // its environment beside what the stack itself sets
	TLS        *tls.Config       // of Temporal's clients; nil: none
	Frontend   *Frontend         // what roller's processes reach Temporal through; nil: nothing is in between
}

// Stack is a Temporal server and roller's processes.
type Stack struct {
	Options
	Address string // of Temporal's frontend
	UIURL   string
	APIURL  string
	Server  *Process
	API     *Process
	Workers []*Process

	port, uiPort, apiPort int
	serverEnv             []string
}

// New chooses ports and starts Temporal. Roller's processes are started one by
// one with StartAPI and StartWorker, after Setup.
func New(ctx context.Context, o Options) (*Stack, error) {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	s := &Stack{Options: o}
	wanted := map[bool][3]int{true: {7233, 8233, 8000}}[o.Preferred]
	for i, port := range []*int{&s.port, &s.uiPort, &s.apiPort} {
		var err error
		if *port, err = Port(wanted[i]); err != nil {
			return nil, err
		}
	}
	s.Address = cmp.Or(o.Running, "127.0.0.1:"+strconv.Itoa(s.port))
	s.UIURL = "http://127.0.0.1:" + strconv.Itoa(s.uiPort)
	s.APIURL = "http://127.0.0.1:" + strconv.Itoa(s.apiPort)
	if s.Frontend != nil {
		if err := s.Frontend.start(s.Address); err != nil {
			return nil, err
		}
	}
	return s, s.StartServer(ctx)
}

// StartServer starts Temporal's server, on the same ports and database as the
// one before it: the dev server, or production's.
func (s *Stack) StartServer(ctx context.Context) error {
	switch {
	case s.Running != "":
		return s.temporalAnswers(ctx)
	case s.Production != nil:
		return s.startProduction(ctx)
	default:
		return s.startDev(ctx)
	}
}

func (s *Stack) startDev(ctx context.Context) error {
	args := []string{
		"server", "start-dev", "--ip", cmp.Or(s.Listen, "127.0.0.1"), "--port", strconv.Itoa(s.port),
		"--namespace", s.Namespace, "--log-level", "error",
		// Without the new matcher server 1.29.1 ignores priorities, and with more than one
		// partition a click may lie in another than the one that is asked for work.
		"--dynamic-config-value", "matching.useNewMatcher=true",
		"--dynamic-config-value", "matching.numTaskqueueReadPartitions=1",
		"--dynamic-config-value", "matching.numTaskqueueWritePartitions=1",
	}
	if s.UI {
		args = append(args, "--ui-port", strconv.Itoa(s.uiPort))
	} else {
		args = append(args, "--headless")
	}
	if s.Database {
		args = append(args, "--db-filename", filepath.Join(s.Dir, "temporal.db"),
			// What was committed outlasts a SIGKILL, and a machine that loses its
			// power is not what is tested: SQLite need not sync each commit, by
			// which alone a fleet's heartbeats would bring the server to a stop.
			"--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
	}
	var err error
	for range startTries {
		if s.Server, err = s.start("temporal", []string{"HOME=" + s.Dir}, s.Temporal, args...); err != nil {
			return err
		}
		if err = s.Server.Ready(ctx, s.temporalAnswers); err == nil || ctx.Err() != nil {
			return err
		}
		s.Server.Stop()
	}
	return err
}

// startTries: the dev server finds its inner ports by binding and closing them,
// so that another process can take one before the server does. It then ends.
const startTries = 5

func (s *Stack) temporalAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CheckHealth(ctx, &client.CheckHealthRequest{})
	return err
}

// Dial returns a client of the stack's Temporal.
func (s *Stack) Dial(ctx context.Context) (client.Client, error) {
	return client.DialContext(ctx, client.Options{
		HostPort: s.Address, Namespace: s.Namespace, Logger: silent{}, ConnectionOptions: client.ConnectionOptions{TLS: s.TLS},
	})
}

// Setup runs `roller setup`.
func (s *Stack) Setup(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.Roller, "setup") //nolint:gosec // the program under test
	cmd.Env = s.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("roller setup: %w\n%s", err, out)
	}
	return nil
}

// StartAPI starts `roller api` and waits until it answers.
func (s *Stack) StartAPI(ctx context.Context) error {
	var err error
	s.API, err = s.RunAPI(ctx, "api", s.apiPort)
	return err
}

// RunAPI starts a `roller api` of its own name and port, and waits until it
// answers. Where the environment has no PUBLIC_URL, it is that of the port.
func (s *Stack) RunAPI(ctx context.Context, name string, port int) (*Process, error) {
	url := "http://127.0.0.1:" + strconv.Itoa(port)
	own := map[string]string{"PORT": strconv.Itoa(port)}
	if s.Env["PUBLIC_URL"] == "" {
		own["PUBLIC_URL"] = url
	}
	p, err := s.start(name, s.environ(own), s.Roller, "api")
	if err != nil {
		return nil, err
	}
	return p, p.Ready(ctx, func(ctx context.Context) error { return apiAnswers(ctx, url) })
}

func apiAnswers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/__lbheartbeat__", http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// StartWorker starts one more `roller worker`.
func (s *Stack) StartWorker() (*Process, error) {
	p, err := s.RunWorker(fmt.Sprintf("worker%d", len(s.Workers)+1))
	if err == nil {
		s.Workers = append(s.Workers, p)
	}
	return p, err
}

// RunWorker starts a `roller worker` that whoever calls has to stop, of the given
// sites if there are any.
func (s *Stack) RunWorker(name string, sites ...string) (*Process, error) {
	args := []string{"worker"}
	for _, site := range sites {
		args = append(args, "--site", site)
	}
	return s.start(name, s.Environ(), s.Roller, args...)
}

// RunTaskcluster starts a `roller taskcluster` that whoever calls has to stop.
func (s *Stack) RunTaskcluster(name string) (*Process, error) {
	return s.start(name, s.Environ(), s.Roller, "taskcluster")
}

// Environ is the environment of roller's processes: what an operator would set,
// and PATH, nothing else of this process's own.
func (s *Stack) Environ() []string { return s.environ(nil) }

func (s *Stack) environ(own map[string]string) []string {
	env := map[string]string{
		"PATH":                 os.Getenv("PATH"),
		"HOME":                 s.Dir,
		"ROLLER_CONFIGURATION": "Test",
		"LISTEN_HOST":          "127.0.0.1",
		"PORT":                 strconv.Itoa(s.apiPort),
		"PUBLIC_URL":           s.APIURL,
		"TEMPORAL_ADDRESS":     s.Address,
		"TEMPORAL_NAMESPACE":   s.Namespace,
	}
	if s.Frontend != nil {
		env["TEMPORAL_ADDRESS"] = s.Frontend.Address()
	}
	maps.Copy(env, s.Env)
	maps.Copy(env, own)
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

// Close stops everything, workers first.
func (s *Stack) Close() {
	for _, w := range s.Workers {
		w.Stop()
	}
	s.API.Stop()
	if s.Frontend != nil {
		s.Frontend.close()
	}
	s.Server.Stop()
}

// Logs returns the output of all processes.
func (s *Stack) Logs() (string, error) {
	paths, err := filepath.Glob(filepath.Join(s.Dir, "*.log"))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, path := range paths {
		b, err := os.ReadFile(path) //nolint:gosec // the stack's own logs
		if err != nil {
			return "", err
		}
		all.Write(b)
	}
	return all.String(), nil
}

func (s *Stack) start(name string, env []string, path string, args ...string) (*Process, error) {
	return Run(name, s.Dir, env, path, args...)
}

// silent is a logger that says nothing: readiness checks fail until they don't.
type silent struct{}

// Debug implements log.Logger.
func (silent) Debug(string, ...any) {}

// Info implements log.Logger.
func (silent) Info(string, ...any) {}

// Warn implements log.Logger.
func (silent) Warn(string, ...any) {}

// Error implements log.Logger.
func (silent) Error(string, ...any) {}
