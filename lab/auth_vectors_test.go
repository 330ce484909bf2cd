package lab

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// vector is a request that Hawk's reference implementation signed.
type vector struct {
	Name          string `json:"name"`
	Method        string `json:"method"`
	Resource      string `json:"resource"`
	Host          string `json:"host"`
	Port          int    `json:"port"`
	Authorization string `json:"authorization"`
}

// vectors are what testdata/hawk.mjs printed, and when it says that it was.
func vectors(t *testing.T) ([]vector, time.Time) {
	t.Helper()
	text, err := os.ReadFile("testdata/hawk.json")
	require.NoError(t, err)
	var all struct {
		TS       int64    `json:"ts"`
		Requests []vector `json:"requests"`
	}
	require.NoError(t, json.Unmarshal(text, &all))
	require.GreaterOrEqual(t, len(all.Requests), 10)
	return all.Requests, time.Unix(all.TS, 0)
}

func (v vector) question() map[string]any {
	return map[string]any{"method": v.Method, "resource": v.Resource, "host": v.Host, "port": v.Port, "authorization": v.Authorization}
}

func newVectorAuth(t *testing.T, now time.Time) (root string) {
	t.Helper()
	a := NewAuth(Client{ID: "sheriff/one", AccessToken: token, Scopes: []string{"hooks:*", "auth:create-client:sheriff/one/*"}})
	a.Now = func() time.Time { return now }
	root, err := a.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return root
}

// The stand-in takes what another implementation than Taskcluster's signed, and
// nothing that differs from it.
func TestAuthAcceptsHawksReferenceImplementation(t *testing.T) {
	t.Parallel()
	requests, at := vectors(t)
	root := newVectorAuth(t, at.Add(time.Minute))
	for _, v := range requests {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // nobody keeps nonces: a replay is a login like the first
				status, body := post(t, root+authPath, v.question())
				require.Equal(t, http.StatusOK, status)
				require.Contains(t, body, `"status":"auth-success"`)
				if strings.Contains(v.Authorization, "hash=") {
					require.Contains(t, body, `"hash":`, "it is for the asker to compare")
				}
			}
			for what, change := range map[string]func(map[string]any){
				"method":   func(q map[string]any) { q["method"] = "patch" },
				"resource": func(q map[string]any) { q["resource"] = v.Resource + "?" },
				"host":     func(q map[string]any) { q["host"] = "x." + v.Host },
				"port":     func(q map[string]any) { q["port"] = v.Port + 1 },
				"time": func(q map[string]any) {
					q["authorization"] = strings.Replace(v.Authorization, `ts="1`, `ts="2`, 1)
				},
				"nonce": func(q map[string]any) {
					q["authorization"] = strings.Replace(v.Authorization, `nonce="`, `nonce="x`, 1)
				},
			} {
				q := v.question()
				change(q)
				_, body := post(t, root+authPath, q)
				require.Contains(t, body, "Unauthorized: Bad mac", what)
			}
		})
	}
}
