package api

import (
	"cmp"
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
)

// The paths by which Mozilla's services say how they are (Dockerflow).
const (
	lbHeartbeatPath = "/__lbheartbeat__"
	heartbeatPath   = "/__heartbeat__"
	versionPath     = "/__version__"
)

// healthTimeout is short of what load balancers wait for an answer.
const healthTimeout = 3 * time.Second

// lbHeartbeat says that the process serves at all.
func (s *server) lbHeartbeat(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) }

// heartbeat says whether jobs can be started.
func (s *server) heartbeat(c *gin.Context) {
	if s.Health != nil {
		ctx, cancel := context.WithTimeout(c.Request.Context(), healthTimeout)
		defer cancel()
		if err := s.Health(ctx); err != nil {
			s.fail(c, &failure{code: unavailable, message: "jobs cannot be started now", cause: err})
			return
		}
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
