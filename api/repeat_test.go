package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mozilla-platform-ops/roller/starter"
)

func TestSignatureHash(t *testing.T) {
	t.Parallel()
	const header = `Hawk id="a", ts="1", nonce="n", mac="m="`
	for what, other := range map[string]string{
		"order":              `Hawk mac="m=", nonce="n", ts="1", id="a"`,
		"spaces":             `hawk id="a",ts="1",   nonce="n",mac="m="`,
		"what the MAC signs": `Hawk id="a", ts="1", nonce="n", mac="m=", ext="x", hash="h"`,
	} {
		require.Equal(t, signatureHash(header), signatureHash(other), what)
	}
	for what, other := range map[string]string{
		"client": strings.Replace(header, `"a"`, `"b"`, 1), "time": strings.Replace(header, `"1"`, `"2"`, 1),
		"nonce": strings.Replace(header, `"n"`, `"o"`, 1), "mac": strings.Replace(header, `"m="`, `"o="`, 1),
	} {
		require.NotEqual(t, signatureHash(header), signatureHash(other), what)
	}
	require.Regexp(t, `^[0-9a-f]{64}$`, signatureHash(header))
}

// A key is its client's own, and the signature counts besides it.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	with := func(key, client string) []starter.Repeat {
		h := http.Header{"Authorization": {`Hawk id="a", ts="1", nonce="n", mac="m="`}}
		if key != "" {
			h.Set(keyHeader, key)
		}
		return repeats(&http.Request{Header: h}, client)
	}
	signature := with("", "a")
	require.Len(t, signature, 1)
	mine := with("8e03978e", "a")
	require.Len(t, mine, 2)
	require.Equal(t, signature[0], mine[1])
	require.True(t, signature[0].Bound)
	require.False(t, mine[0].Bound, "the same key may come with any request")
	require.Equal(t, mine, with(`"8e03978e"`, "a"), "the draft's own form")
	require.NotEqual(t, mine[0], with("8e03978f", "a")[0])
	require.NotEqual(t, mine[0], with("8e03978e", "b")[0])
	require.NotContains(t, mine[0].Key, "8e03978e")
}
