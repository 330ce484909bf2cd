package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTemporalAPIKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte("from-a-file\n"), 0o600))
	for name, tc := range map[string]struct {
		environment []string
		key         string
		file        bool
		err         string
	}{
		"none":     {},
		"variable": {environment: []string{"TEMPORAL_API_KEY=from-the-environment"}, key: "from-the-environment"},
		"file":     {environment: []string{"TEMPORAL_API_KEY_FILE=" + path}, key: "from-a-file", file: true},
		"both":     {environment: []string{"TEMPORAL_API_KEY=x", "TEMPORAL_API_KEY_FILE=" + path}, err: "TEMPORAL_API_KEY: is set, and so is TEMPORAL_API_KEY_FILE: set one of them"},
		"no file":  {environment: []string{"TEMPORAL_API_KEY_FILE=/nowhere"}, err: "TEMPORAL_API_KEY_FILE=\"/nowhere\": no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, file, err := LoadTemporalAPIKey(tc.environment)
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.key, key.Reveal())
			require.Equal(t, tc.file, file)
		})
	}
}
