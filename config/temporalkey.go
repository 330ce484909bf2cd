package config

// TemporalAPIKey is the variable of Temporal's SDK for the key of a managed Temporal.
const TemporalAPIKey = "TEMPORAL_API_KEY" //nolint:gosec // a name

// LoadTemporalAPIKey returns the key, and whether a file has it (TEMPORAL_API_KEY_FILE),
// which the SDK does not know.
func LoadTemporalAPIKey(environment []string) (key Secret, file bool, err error) {
	e := newEnviron(environment)
	key = e.secret(TemporalAPIKey)
	return key, e.text(TemporalAPIKey+"_FILE", "") != "", e.err()
}
