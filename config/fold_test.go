package config

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for want, ids := range map[string][]string{
		"":                               nil,
		"mdc1/xen1":                      {"xen1"},
		"mdc1/build":                     {"build"},
		"mdc1/ms-[001-003,005]":          {"ms-003", "ms-001", "ms-005", "ms-002"},
		"mdc1/ms1-[9-11]":                {"ms1-10", "ms1-9", "ms1-11"},
		"mdc1/ms-[1-2], mdc1/ms-[01-02]": {"ms-1", "ms-01", "ms-2", "ms-02"},
		"mdc1/ms-[098-101]":              {"ms-098", "ms-101", "ms-099", "ms-100"},
		"mdc1/[7-8]":                     {"8", "7"},
		"mdc1/a123[456789011,456789013], mdc1/b1": {"a123456789011", "b1", "a123456789013"},
	} {
		var names []Name
		for _, id := range ids {
			names = append(names, Name{WorkerID: id, WorkerGroup: "mdc1"})
		}
		require.Equal(t, want, FoldNames(names))
	}
}

func TestFoldKeepsGroupsApart(t *testing.T) {
	t.Parallel()
	var names []Name
	for i := range 600 {
		names = append(names, Name{WorkerID: fmt.Sprintf("ms-%03d", i+1), WorkerGroup: fmt.Sprintf("mdc%d", 1+i/300)})
	}
	require.Equal(t, "mdc1/ms-[001-300], mdc2/ms-[301-600]", FoldNames(names))
}
