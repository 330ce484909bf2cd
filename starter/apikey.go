package starter

import (
	"context"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/mozilla-platform-ops/roller/config"
)

// keyed is the environment with the API key that a file holds in the place of
// TEMPORAL_API_KEY, which the SDK knows alone.
type keyed struct {
	envconfig.EnvLookup
	key config.Secret
}

// LookupEnv implements envconfig.EnvLookup.
func (k keyed) LookupEnv(name string) (string, bool) {
	if name == config.TemporalAPIKey && !k.key.IsZero() {
		return k.key.Reveal(), true
	}
	return k.EnvLookup.LookupEnv(name)
}

// clientOptions are those of the environment. A key of a file is read at each call,
// so that one that is replaced counts at once.
func clientOptions() (client.Options, error) {
	key, file, err := config.LoadTemporalAPIKey(os.Environ())
	if err != nil {
		return client.Options{}, err
	}
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: keyed{envconfig.EnvLookupOS, key}})
	if err == nil && file {
		options.Credentials = client.NewAPIKeyDynamicCredentials(func(context.Context) (string, error) {
			key, _, err := config.LoadTemporalAPIKey(os.Environ())
			return key.Reveal(), err
		})
	}
	return options, err
}
