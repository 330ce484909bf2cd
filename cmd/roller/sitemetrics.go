package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mozilla-platform-ops/roller/starter"
)

// metricSites tells of a site that nobody works for.
const metricSites = "roller_site_workers"

// siteWorkers asks Temporal at each scrape who works for each site.
type siteWorkers struct {
	sites  []string
	door   *starter.Starter
	logger *slog.Logger
	desc   *prometheus.Desc
}

func newSiteWorkers(sites []string, door *starter.Starter, logger *slog.Logger) *siteWorkers {
	return &siteWorkers{sites: sites, door: door, logger: logger, desc: prometheus.NewDesc(metricSites,
		"Workers of a site that have asked for its work within 90 s.", []string{"site"}, nil)}
}

// Describe implements prometheus.Collector.
func (s *siteWorkers) Describe(descs chan<- *prometheus.Desc) { descs <- s.desc }

// Collect implements prometheus.Collector. A site that Temporal says nothing
// about is left out: that is no 0. All sites are asked at once, so that a slow
// Temporal does not take the other numbers of the scrape away.
func (s *siteWorkers) Collect(found chan<- prometheus.Metric) {
	var all sync.WaitGroup
	for _, site := range s.sites {
		all.Go(func() {
			n, err := s.door.SiteWorkers(context.Background(), site)
			if err != nil {
				s.logger.Warn("metrics", "site", site, "err", err.Error())
				return
			}
			found <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), site)
		})
	}
	all.Wait()
}
