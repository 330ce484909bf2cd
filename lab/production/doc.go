// Package production tests that docs/operate.md sets up a whole roller on one
// machine: `make test-postgres` runs what the document says, word for word, in
// namespaces of its own. It needs root and Debian's PostgreSQL.
package production
