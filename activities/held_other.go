//go:build !linux

package activities

import "net"

// unackedOf: only Linux is asked.
func unackedOf(net.Conn) func() (int, error) { return nil }
