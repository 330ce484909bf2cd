package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// The paths by which Mozilla's services say how they are (Dockerflow).
const (
	lbHeartbeatPath = "/__lbheartbeat__"
	heartbeatPath   = "/__heartbeat__"
	versionPath     = "/__version__"
)

const (
	// healthTimeout is short of what load balancers wait for an answer.
	healthTimeout = 3 * time.Second
	// healthKept is how long an answer is good for: whoever asks every millisecond,
	// which anybody may, is not passed on to the services behind.
	healthKept = 5 * time.Second
)

// check is one service without which no job can be started.
type check struct {
	name string
	ask  func(context.Context) error
	now  func() time.Time

	mu  sync.Mutex
	at  time.Time // of the last answer
	err error
}

// result asks, unless there is a fresh answer. Who comes meanwhile waits for the
// one question under way, which its asker's leaving does not end.
func (k *check) result(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.at.IsZero() && k.now().Sub(k.at) < healthKept {
		return k.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	k.err = k.ask(ctx)
	k.at = k.now()
	return k.err
}

func checks(deps Deps) []*check {
	all := []*check{{name: "the authentication service", ask: deps.Authenticator.Ping, now: time.Now}}
	if deps.Health != nil {
		all = append(all, &check{name: "temporal", ask: deps.Health, now: time.Now})
	}
	return all
}

// lbHeartbeat says that the process serves at all.
func (s *server) lbHeartbeat(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) }

// heartbeat says whether jobs can be started, and if not, for want of what.
func (s *server) heartbeat(c *gin.Context) {
	var all sync.WaitGroup
	causes := make([]error, len(s.checks))
	for i, k := range s.checks {
		all.Go(func() { causes[i] = k.result(c.Request.Context()) })
	}
	all.Wait()
	var missing []string
	for i, k := range s.checks {
		if causes[i] != nil {
			missing = append(missing, k.name)
		}
	}
	if len(missing) > 0 {
		s.fail(c, &failure{code: unavailable, message: "jobs cannot be started now, for want of " + strings.Join(missing, " and "), cause: errors.Join(causes...)})
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ok"})
}

// version says what was built, as far as the build knows.
func (s *server) version(c *gin.Context) {
	v := gin.H{"source": "", "version": "", "commit": "", "build": ""}
	if build, ok := debug.ReadBuildInfo(); ok {
		v["source"] = "https://" + build.Main.Path
		v["version"] = cmp.Or(s.Version, build.Main.Version)
		for _, setting := range build.Settings {
			if setting.Key == "vcs.revision" {
				v["commit"] = setting.Value
			}
		}
	}
	c.JSON(http.StatusOK, v)
}
