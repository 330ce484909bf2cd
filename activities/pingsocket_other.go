//go:build !linux

package activities

func newPings() icmpEchoer { return &singlePings{} }
