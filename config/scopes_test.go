package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSatisfied(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		held []string
		want bool
	}{
		"nothing":             {nil, false},
		"the scope":           {[]string{"a:b"}, true},
		"a prefix":            {[]string{"x", "a:*"}, true},
		"everything":          {[]string{"*"}, true},
		"prefix without star": {[]string{"a:"}, false},
		"longer":              {[]string{"a:bc"}, false},
		"longer prefix":       {[]string{"a:bc*"}, false},
		"star in the middle":  {[]string{"*:b"}, false},
		"the scope and star":  {[]string{"a:b*"}, true},
		"another case":        {[]string{"A:b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, satisfied(tc.held, "a:b"))
		})
	}
}

func TestOneWholeScopeSetOpens(t *testing.T) {
	t.Parallel()
	sets := [][]string{{"a:{task_name}", "b"}, {"c:{task_name}"}}
	require.Empty(t, MissingScopes(sets, "ping", []string{"a:ping", "b"}))
	require.Empty(t, MissingScopes(sets, "ping", []string{"c:ping"}))
	require.Equal(t, "the scope b, or c:ping", MissingScopes(sets, "ping", []string{"a:ping"}))
	require.Equal(t, "the scope a:ping and b, or c:ping", MissingScopes(sets, "ping", []string{"a:reboot", "c:reboot"}))
}
