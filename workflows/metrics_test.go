package workflows

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"

	"github.com/mozilla-platform-ops/roller/activities"
)

// counted keeps roller's own counters of a handler, by name and its own labels.
type counted struct {
	client.MetricsHandler

	tags   map[string]string
	shared *counters
}

type counters struct {
	mu sync.Mutex
	of map[string]int64
}

func (c counted) WithTags(tags map[string]string) client.MetricsHandler {
	c.tags = maps.Clone(c.tags)
	if c.tags == nil {
		c.tags = map[string]string{}
	}
	maps.Copy(c.tags, tags)
	return c
}

func (c counted) Counter(name string) client.MetricsCounter { return counter{c, name} }

type counter struct {
	counted

	name string
}

func (c counter) Inc(n int64) {
	var labels []string
	for _, key := range []string{"outcome", "rung", "task"} {
		if value, ok := c.tags[key]; ok {
			labels = append(labels, fmt.Sprintf("%s=%s", key, value))
		}
	}
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if strings.HasPrefix(c.name, "roller_") {
		c.shared.of[c.name+" "+strings.Join(labels, " ")] += n
	}
}

func TestJobsAreCounted(t *testing.T) {
	t.Parallel()
	shared := &counters{of: map[string]int64{}}
	var suite testsuite.WorkflowTestSuite
	suite.SetMetricsHandler(counted{MetricsHandler: client.MetricsNopHandler, shared: shared})
	w := newWorldOf(t, &suite, "reboot", "ssh_reboot", "ipmi_reset", "ipmi_cycle")
	w.plan.Rungs[0].Skip = "no ssh"
	w.answers, w.ups = []answer{ignored, wentDown}, []activities.Sight{up}
	_, err := w.run(t, "reboot")
	require.NoError(t, err)
	require.Equal(t, []string{
		"roller_jobs outcome=back rung=ipmi_cycle task=reboot",
		"roller_rungs outcome=back rung=ipmi_cycle",
		"roller_rungs outcome=no_effect rung=ipmi_reset",
		"roller_rungs outcome=skipped rung=ssh_reboot",
	}, slices.Sorted(maps.Keys(shared.of)))
	for name, n := range shared.of {
		require.EqualValues(t, 1, n, name)
	}
}
