package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is how many jobs may be started: so many at once, and as many again over
// each period. The zero Limit allows every number.
type Limit struct {
	Jobs int
	Per  time.Duration
}

// maxJobs is far above any fleet, and small enough to count with.
const maxJobs = 1_000_000

// limit returns a limit like 60/10m, or none.
func (e *environ) limit(name, otherwise string) Limit {
	v := e.text(name, otherwise)
	if strings.EqualFold(v, "none") {
		return Limit{}
	}
	jobs, period, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(strings.TrimSpace(jobs))
	var per Duration
	if err != nil || n < 1 || n > maxJobs || per.UnmarshalText([]byte(strings.TrimSpace(period))) != nil || per.D() < time.Second {
		e.wrong(name, v, fmt.Sprintf("must be a number of jobs from 1 to %d and a time of 1s or more, like 60/10m, or none", maxJobs))
		return Limit{}
	}
	return Limit{Jobs: n, Per: per.D()}
}
