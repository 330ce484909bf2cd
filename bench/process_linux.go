package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has and has used.
type usage struct {
	memory float64 // bytes of its own, which no file backs (RssAnon of proc_pid_status(5))
	cpu    time.Duration
	files  float64
}

// clockTick is USER_HZ, which is 100 on every system that Go runs on.
const clockTick = 10 * time.Millisecond

// used reads a process's usage from /proc.
func used(pid int) (u usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	memory, err := strconv.ParseFloat(strings.TrimSuffix(field(filepath.Join(dir, "status"), "RssAnon"), " kB"), 64)
	if err != nil {
		return u, err
	}
	u.memory = memory * 1024
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, err
	}
	u.files = float64(len(files))
	stat, err := os.ReadFile(filepath.Join(dir, "stat")) //nolint:gosec // /proc's own
	if err != nil {
		return u, err
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after) // from the third on: the 14th and 15th are utime and stime
	if len(fields) < 18 {
		return u, errors.New("stat: too few fields")
	}
	for _, at := range []int{11, 12} {
		ticks, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	return u, nil
}

// pingsSent is how many echo requests this network has sent.
func pingsSent() (float64, error) {
	text, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "OutEchos" {
				return strconv.ParseFloat(fields[i], 64)
			}
		}
	}
	return 0, errors.New("/proc/net/snmp: no OutEchos")
}

// metric is the sum of a process's metric over those of its series that have all these labels.
func metric(ctx context.Context, address, name string, labels ...string) (sum float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 1<<20)
series:
	for scanner.Scan() {
		series, value, found := strings.Cut(scanner.Text(), "} ")
		if !found || !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue series
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", series, err)
		}
		sum += v
	}
	return sum, scanner.Err()
}
