package stack

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Production is Temporal as it is run for real: its server on PostgreSQL, with
// the files of deploy/.
type Production struct {
	Postgres *Postgres
	Server   string // path of temporal-server
	SQLTool  string // path of temporal-sql-tool
	Deploy   string // path of deploy/
}

// The environment by which the end-to-end and chaos tests run on PostgreSQL.
const (
	EnvPostgres = "ROLLER_TEST_POSTGRES" // where initdb and postgres are
	EnvServer   = "ROLLER_TEST_TEMPORAL_SERVER"
	EnvSQLTool  = "ROLLER_TEST_TEMPORAL_SQL_TOOL"
)

// NewProduction starts PostgreSQL where the environment says that the tests run
// on it, and returns nil where it does not. Its Postgres is the caller's to close.
func NewProduction(ctx context.Context, root string) (*Production, error) {
	bin := os.Getenv(EnvPostgres)
	if bin == "" {
		return nil, nil //nolint:nilnil // the dev server then
	}
	p := &Production{Server: os.Getenv(EnvServer), SQLTool: os.Getenv(EnvSQLTool), Deploy: filepath.Join(root, "deploy")}
	for _, path := range []string{p.Server, p.SQLTool, p.Deploy} {
		if _, err := os.Stat(path); err != nil { //nolint:gosec // who runs the tests names the programs
			return nil, fmt.Errorf("%s, %s: %w", EnvServer, EnvSQLTool, err)
		}
	}
	var err error
	p.Postgres, err = NewPostgres(ctx, bin)
	return p, err
}

// ports of the server beside the frontend's, by what is before _PORT in the
// names of deploy/temporal/production.yaml.
var ports = []string{
	"FRONTEND_MEMBERSHIP", "INTERNAL_FRONTEND", "INTERNAL_FRONTEND_MEMBERSHIP", "MATCHING", "MATCHING_MEMBERSHIP",
	"HISTORY", "HISTORY_MEMBERSHIP", "WORKER", "WORKER_MEMBERSHIP",
}

// productionEnv chooses the server's ports and database.
func (s *Stack) productionEnv() error {
	metrics, err := Port(0)
	if err != nil {
		return err
	}
	env := map[string]string{
		"TEMPORAL_POSTGRES_ADDRESS": s.Production.Postgres.Address, "TEMPORAL_POSTGRES_PASSWORD": s.Production.Postgres.Password,
		"TEMPORAL_DATABASE":       fmt.Sprintf("temporal_%d", s.port),
		"TEMPORAL_DYNAMIC_CONFIG": filepath.Join(s.Production.Deploy, "temporal", "dynamicconfig.yaml"),
		"TEMPORAL_HISTORY_SHARDS": "4", "TEMPORAL_LOG_LEVEL": "error",
		"TEMPORAL_FRONTEND_PORT":   strconv.Itoa(s.port),
		"TEMPORAL_METRICS_ADDRESS": "127.0.0.1:" + strconv.Itoa(metrics),
		"TEMPORAL_SQL_TOOL":        s.Production.SQLTool, "PATH": os.Getenv("PATH"),
	}
	for _, name := range ports {
		port, err := Port(0)
		if err != nil {
			return err
		}
		env["TEMPORAL_"+name+"_PORT"] = strconv.Itoa(port)
	}
	maps.Copy(env, s.ServerEnv)
	for k, v := range env {
		s.serverEnv = append(s.serverEnv, k+"="+v)
	}
	return nil
}

// startProduction makes the databases the first time, and starts the server. A
// server that finds no database ends, and is started again as a service manager
// would, while ctx lasts.
func (s *Stack) startProduction(ctx context.Context) error {
	if s.serverEnv == nil {
		if err := s.productionEnv(); err != nil {
			return err
		}
		if err := s.setupSchema(ctx); err != nil {
			return err
		}
	}
	args := []string{"--config", filepath.Join(s.Production.Deploy, "temporal"), "--env", "production", "--allow-no-auth", "start"}
	for _, service := range []string{"frontend", "internal-frontend", "history", "matching", "worker"} {
		args = append(args, "--service", service)
	}
	for {
		var err error
		if s.Server, err = s.start("temporal", s.serverEnv, s.Production.Server, args...); err != nil {
			return err
		}
		err = s.Server.Ready(ctx, s.temporalAnswers)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (s *Stack) setupSchema(ctx context.Context) error {
	schema := exec.CommandContext(ctx, filepath.Join(s.Production.Deploy, "temporal", "setup-schema")) //nolint:gosec // the script under test
	schema.Env = s.serverEnv
	if out, err := schema.CombinedOutput(); err != nil {
		return fmt.Errorf("setup-schema: %w\n%s", err, out)
	}
	return nil
}
