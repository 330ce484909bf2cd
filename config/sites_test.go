package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSites(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{"SITES= MDC1=mdc1, mdc1-test; mdc2 "})
	require.NoError(t, err)
	require.Equal(t, Sites{"mdc1": "mdc1", "mdc1-test": "mdc1", "mdc2": "mdc2"}, c.Sites)
	require.Equal(t, []string{"mdc1", "mdc2"}, c.Sites.Names())
	require.Equal(t, "mdc1", c.Sites.Of("mdc1-test"))
	require.Empty(t, c.Sites.Of("mdc9"))
	require.NoError(t, c.Sites.Check([]string{"mdc2", "mdc1"}))
	require.EqualError(t, c.Sites.Check([]string{"mdc9"}), `site "mdc9": is none of SITES (mdc1, mdc2)`)

	c, err = Load(nil)
	require.NoError(t, err)
	require.Empty(t, c.Sites.Of("mdc1"))

	const form = "must be a site, = and its worker groups with commas between them, like mdc1=mdc1,mdc1-test; a site cannot be called watch"
	for value, want := range map[string]string{
		"mdc1=":          `SITES="mdc1=": ` + form,
		"watch":          `SITES="watch": ` + form,
		"a b=mdc1":       `SITES="a b=mdc1": ` + form,
		"mdc1=x y":       `SITES="x y": is no worker group`,
		"a=mdc1;b=mdc1":  `SITES="mdc1": stands in a and in b`,
		"mdc1=mdc1,mdc1": `SITES="mdc1": stands in mdc1 and in mdc1`,
	} {
		_, err := Load([]string{"SITES=" + value})
		require.EqualError(t, err, want)
	}
}
