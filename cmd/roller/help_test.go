package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/config"
)

// TestHelp holds what people read against golden files (-update writes them).
func TestHelp(t *testing.T) {
	t.Parallel()
	pages := []string{"", "register_tc_actions", "ipmitool"}
	for _, a := range actions {
		pages = append(pages, a.name)
	}
	used := map[string]bool{}
	for _, page := range pages {
		file := filepath.Join("testdata", "help_"+page+".golden")
		used[file] = true
		t.Run("help "+page, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd := root(slog.New(slog.DiscardHandler))
			cmd.SetOut(&out)
			if page == "" {
				cmd.SetArgs([]string{})
			} else {
				cmd.SetArgs([]string{"help", page})
			}
			require.NoError(t, cmd.Execute())
			if *update {
				require.NoError(t, os.WriteFile(file, out.Bytes(), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
			if page != "" {
				require.Contains(t, out.String(), "Examples:\n  roller "+page)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.golden")
	require.NoError(t, err)
	for _, file := range files {
		require.True(t, used[file], "%s has no test any more", file)
	}
}

// Every task can be asked for by its name, and nothing else calls itself one.
func TestEveryTaskIsACommand(t *testing.T) {
	t.Parallel()
	var named []string
	for _, a := range actions {
		named = append(named, a.name)
		if a.by == nil && !config.IsRead(a.name) {
			require.Nil(t, a.act, "%s: nobody could call it", a.name)
			continue
		}
		require.NotNil(t, a.act, a.name)
	}
	require.ElementsMatch(t, config.Tasks(), named)
}
