package lab

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The stand-in says of headers, good and bad, what the signature validator of
// Taskcluster's own service said of them (testdata/verdicts.mjs).
func TestAuthSaysWhatTaskclusterSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/verdicts.json")
	require.NoError(t, err)
	var all struct {
		TS                     int64
		Method, Resource, Host string
		Port                   int
		Scopes                 []string
		Cases                  []struct {
			Name, Authorization string
			Later               int64 // seconds, of the service's clock
			Verdict             map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(text, &all))
	require.Greater(t, len(all.Cases), 70)
	said := map[any]int{}
	for _, c := range all.Cases {
		said[c.Verdict["status"]]++
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			a := NewAuth(Client{ID: "sheriff/one", AccessToken: token, Scopes: all.Scopes})
			now := time.Unix(all.TS+c.Later, 0)
			a.Now = func() time.Time { return now }
			root, err := a.Start(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, a.Close()) })
			q := map[string]any{"method": all.Method, "resource": all.Resource, "host": all.Host, "port": all.Port}
			if c.Authorization != "" {
				q["authorization"] = c.Authorization
			}
			status, body := post(t, root+authPath, q)
			require.Equal(t, http.StatusOK, status, body)
			var verdict map[string]any
			require.NoError(t, json.Unmarshal([]byte(body), &verdict))
			if want, ok := c.Verdict["scopes"]; ok {
				require.ElementsMatch(t, want, verdict["scopes"])
				require.Equal(t, moment(t, c.Verdict["expires"]), moment(t, verdict["expires"]))
			}
			for _, field := range []string{"scopes", "expires"} {
				delete(c.Verdict, field)
				delete(verdict, field)
			}
			require.Equal(t, c.Verdict, verdict)
			require.Empty(t, a.Mistakes())
		})
	}
	require.Greater(t, said["auth-success"], 20)
	require.Greater(t, said["auth-failed"], 40)
	require.Equal(t, 1, said["no-auth"])
}

func moment(t *testing.T, value any) time.Time {
	t.Helper()
	text, _ := value.(string)
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at.UTC()
}
