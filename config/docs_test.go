package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// words are the texts in backquotes.
var words = regexp.MustCompile("`([^`]+)`")

func inBackquotes(text string) []string {
	var all []string
	for _, m := range words.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// actionRows are the rows of the table in docs/actions.md: action, device, real
// peer, stand-in, tests.
func actionRows(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/actions.md")
	require.NoError(t, err)
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Split(strings.Trim(line, "|"), "|"))
		}
	}
	return rows
}

// TestActionsTable holds the table of what each action was tried against to what
// there is: files that exist, and a row for every task and every family of PDUs.
func TestActionsTable(t *testing.T) {
	t.Parallel()
	rows := actionRows(t)
	require.NotEmpty(t, rows)
	var actions, devices []string
	for _, row := range rows {
		require.Len(t, row, 5, "%q", row)
		actions = append(actions, inBackquotes(row[0])...)
		devices = append(devices, inBackquotes(row[1])...)
		require.NotEmpty(t, inBackquotes(row[4]), "a row without a test: %q", row)
		for _, word := range append(inBackquotes(row[3]), inBackquotes(row[4])...) {
			if strings.Contains(word, "/") {
				found, err := filepath.Glob(filepath.Join("..", word))
				require.NoError(t, err)
				require.NotEmpty(t, found, "the table names %s, which does not exist", word)
			}
		}
	}
	for _, task := range Tasks() {
		require.Contains(t, actions, task)
	}
	for _, p := range Profiles() {
		require.Contains(t, devices, p.Name, "a family of PDUs")
	}
}
