package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const composeFile = "../docker-compose.temporal.yml"

// service is what these tests look at of a service (compose-spec).
type service struct {
	Build       struct{ Target string }
	Image       string
	Restart     string
	Command     []string
	Environment map[string]string
	Networks    []string
	Ports       []string
	Volumes     []string
	Secrets     []string
	CapAdd      []string                              `yaml:"cap_add"`
	CapDrop     []string                              `yaml:"cap_drop"`
	SecurityOpt []string                              `yaml:"security_opt"`
	ReadOnly    bool                                  `yaml:"read_only"`
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
	Deploy      struct {
		Resources struct{ Limits struct{ Memory, CPUs string } }
	}
}

type compose struct {
	Services map[string]service
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

func readCompose(t *testing.T) compose {
	t.Helper()
	text, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	var c compose
	require.NoError(t, yaml.Unmarshal(text, &c))
	require.Len(t, c.Services, 8)
	return c
}

// names returns every variable that a file names, set or behind a #.
func names(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`[A-Z][A-Z0-9_]+`).FindAllString(string(text), -1) {
		found[m] = true
	}
	return found
}

func TestComposeVariables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	known := names(t, "../.env-dist")
	own := []string{"VERSION", "LISTEN", "TEMPORAL_NAMESPACE"}
	variables := regexp.MustCompile(`\$\{([A-Za-z_]+)([^}]*)\}`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, variables)
	for _, v := range variables {
		require.Regexp(t, `^:[-?]`, v[2], "%s: has a default, or is asked for", v[1])
		require.True(t, known[v[1]] || slices.Contains(own, v[1]), "%s: is no variable of roller's", v[1])
	}
	c := readCompose(t)
	server, ui := names(t, "temporal/production.yaml"), names(t, "temporal-ui/production.yaml")
	for name, s := range c.Services {
		for variable := range s.Environment {
			var ok bool
			switch {
			case strings.HasPrefix(name, "roller"):
				ok = known[variable]
			case name == "temporal-ui":
				ok = ui[variable]
			case strings.HasPrefix(name, "temporal"):
				ok = server[strings.TrimSuffix(variable, "_FILE")]
			default: // the image's own
				ok = strings.HasPrefix(variable, "POSTGRES_")
			}
			require.True(t, ok, "%s: nothing reads %s", name, variable)
		}
	}
}

func TestComposeFence(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	require.True(t, c.Networks["temporal"].Internal)
	for name, s := range c.Services {
		for _, n := range s.Networks {
			require.Contains(t, c.Networks, n, name)
		}
		require.Contains(t, s.Networks, "temporal", name)
		switch name {
		case "roller-worker":
			require.Equal(t, []string{"NET_RAW"}, s.CapAdd)
			require.Empty(t, s.SecurityOpt, "it would take the program's capability away")
			require.Contains(t, s.Networks, "devices")
		default:
			require.Empty(t, s.CapAdd, name)
			require.Equal(t, []string{"no-new-privileges:true"}, s.SecurityOpt, name)
			require.NotContains(t, s.Networks, "devices", name)
		}
		if name != "postgres" { // its entry point changes the user and writes
			require.Equal(t, []string{"ALL"}, s.CapDrop, name)
			require.True(t, s.ReadOnly, name)
		}
		if slices.Contains([]string{"postgres", "temporal", "temporal-schema", "roller-setup"}, name) {
			require.Equal(t, []string{"temporal"}, s.Networks, name)
			require.Empty(t, s.Ports, name)
		}
		for _, p := range s.Ports {
			require.Regexp(t, `^(\$\{LISTEN:-)?127\.0\.0\.1:`, p, name)
		}
	}
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	dockerfile, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	for name, s := range c.Services {
		if s.Build.Target == "" {
			require.Regexp(t, `^[a-z]+:[0-9]+\.[0-9]+-[a-z]+$`, s.Image, "%s: pinned", name)
		} else {
			require.Contains(t, string(dockerfile), " AS "+s.Build.Target+"\n", name)
		}
		require.NotEmpty(t, s.Deploy.Resources.Limits.Memory, name)
		require.NotEmpty(t, s.Deploy.Resources.Limits.CPUs, name)
		if s.Restart != "on-failure" {
			require.NotEmpty(t, s.Healthcheck.Test, "%s: stays, so it is looked at", name)
		}
		for other, d := range s.DependsOn {
			require.Contains(t, c.Services, other, name)
			if d.Condition == "service_healthy" {
				require.NotEmpty(t, c.Services[other].Healthcheck.Test, "%s waits for %s", name, other)
			} else {
				require.Equal(t, "service_completed_successfully", d.Condition)
				require.Equal(t, "on-failure", c.Services[other].Restart, "%s ends", other)
			}
		}
		for _, secret := range s.Secrets {
			require.Contains(t, c.Secrets, secret, name)
		}
		for variable, value := range s.Environment {
			if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
				require.Contains(t, s.Secrets, secret, "%s: %s", name, variable)
			}
		}
	}
	ignored, err := os.ReadFile("../.dockerignore")
	require.NoError(t, err)
	require.Contains(t, string(ignored), "secrets\n")
	git, err := os.ReadFile("../.gitignore")
	require.NoError(t, err)
	require.Contains(t, string(git), "/secrets/\n")
}

// Every command line of roller's, in the compose file and in the units, is one
// that the real program takes.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	roller := filepath.Join(t.TempDir(), "roller")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", roller, "../cmd/roller").CombinedOutput()
	require.NoError(t, err, "%s", out)
	lines := map[string][]string{}
	for name, s := range readCompose(t).Services {
		if strings.HasPrefix(name, "roller") {
			lines["compose, "+name] = s.Command
		}
	}
	for path, u := range readUnits(t) {
		if argv := strings.Fields(strings.Join(u["ExecStart"], " ")); filepath.Base(argv[0]) == "roller" {
			lines[path] = argv[1:]
		}
	}
	require.Len(t, lines, 9)
	for where, args := range lines {
		require.NotEmpty(t, args, where)
		help := exec.CommandContext(t.Context(), roller, append(slices.Clone(args), "--help")...)
		out, err := help.CombinedOutput()
		require.NoError(t, err, "%s: %s", where, out)
		require.Contains(t, string(out), "roller "+args[0], where)
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	user := map[string]string{} // of each stage
	stage := ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "FROM":
			stage = words[3]
			user[stage] = user[words[1]]
		case words[0] == "ARG" && strings.Contains(line, ":"):
			require.Regexp(t, `=(golang:[0-9]+\.[0-9]+\.[0-9]+-bookworm|debian:bookworm-slim)$`, words[1])
		case words[0] == "USER":
			user[stage] = words[1]
		case words[0] == "COPY" && !strings.HasPrefix(words[1], "--from"):
			for _, source := range words[1 : len(words)-1] {
				require.FileExists(t, filepath.Join("..", source, map[bool]string{true: "go.mod"}[source == "."]), line)
			}
		}
	}
	for _, target := range []string{"temporal", "temporal-ui", "roller", "worker"} {
		require.Equal(t, "65532:65532", user[target], target)
	}
}
