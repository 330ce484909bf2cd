package starter

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/mozilla-platform-ops/roller/workflows"
)

// pollLately is how long ago a worker that is there has asked for work at most:
// a poll waits for a minute before it is answered with nothing (Temporal's
// matching.longPollExpirationInterval), and a new one follows.
const pollLately = 90 * time.Second

// SiteWorkers returns how many workers of a site ask for its commands, and for
// its waits if they are fewer.
func (s *Starter) SiteWorkers(ctx context.Context, site string) (int, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	fewest := 0
	for i, queue := range []string{workflows.SiteQueue(site), workflows.SiteWatchQueue(site)} {
		answer, err := s.client.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_ACTIVITY)
		if err != nil {
			return 0, unavailable(err)
		}
		there := map[string]bool{}
		for _, p := range answer.GetPollers() {
			if time.Since(p.GetLastAccessTime().AsTime()) < pollLately {
				there[p.GetIdentity()] = true
			}
		}
		if i == 0 || len(there) < fewest {
			fewest = len(there)
		}
	}
	return fewest, nil
}

// deserted says that a job waits for a worker of its site, and there is none.
func (s *Starter) deserted(ctx context.Context, r *workflows.Result, pending []*workflowpb.PendingActivityInfo) string {
	if r.Site == "" {
		return ""
	}
	for _, p := range pending {
		if p.GetState() != enumspb.PENDING_ACTIVITY_STATE_SCHEDULED {
			continue
		}
		if n, err := s.SiteWorkers(ctx, r.Site); err == nil && n == 0 {
			return fmt.Sprintf("waiting for a worker of site %s: none is there (roller worker --site %s)", r.Site, r.Site)
		}
	}
	return ""
}
