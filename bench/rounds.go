package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Sample is what was measured once, by the measures' names.
type Sample map[string]float64

// Round is one baseline and one subject, measured one right after the other.
type Round struct{ Baseline, Subject Sample }

// measurer measures once.
type measurer func(context.Context) (Sample, error)

// alternate measures a baseline and its subject in turns. Which of the two is first
// alternates too, so that neither always meets the warmer machine.
func (b *bench) alternate(ctx context.Context, rounds int, baseline, subject measurer) ([]Round, error) {
	var all []Round
	for i := range rounds {
		var r Round
		both := []struct {
			of   string
			into *Sample
			by   measurer
		}{{"baseline", &r.Baseline, baseline}, {"roller", &r.Subject, subject}}
		if i%2 == 1 {
			slices.Reverse(both)
		}
		for _, one := range both {
			var err error
			if *one.into, err = one.by(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", one.of, err)
			}
			b.say("  round %d of %d, %s: %s", i+1, rounds, one.of, *one.into)
		}
		all = append(all, r)
	}
	return all, nil
}

// compare is the measure of one name over all rounds: the median of the rounds'
// ratios, subject by baseline, is what counts.
func compare(rounds []Round, name, unit string, limit *Limit) Measure {
	m := Measure{Name: name, Unit: unit, Limit: limit}
	var subjects, baselines, ratios []float64
	for _, r := range rounds {
		s, b := r.Subject[name], r.Baseline[name]
		subjects, baselines, ratios = append(subjects, s), append(baselines, b), append(ratios, s/b)
		m.Rounds = append(m.Rounds, [2]float64{round(b), round(s)})
	}
	base := round(median(baselines))
	m.Value, m.Baseline = round(median(subjects)), &base
	m.Ratio = &Spread{Median: round(median(ratios)), Least: round(slices.Min(ratios)), Most: round(slices.Max(ratios))}
	return m
}

// value is a measure without a baseline.
func value(name, unit string, v float64, limit *Limit) Measure {
	return Measure{Name: name, Unit: unit, Value: round(v), Limit: limit}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}
	n := len(sorted)
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// quantile is the least of the times that so large a part of all does not exceed.
func quantile(times []time.Duration, part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	at := int(math.Ceil(part*float64(len(sorted)))) - 1
	return sorted[max(0, at)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// round keeps three significant digits, and all of those before the point.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	scale := math.Pow(10, max(0, 2-math.Floor(math.Log10(math.Abs(v)))))
	return math.Round(v*scale) / scale
}
