package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// A block is a /24 of loopback, 127.A.B.0. Its last host address holds a
// listener for as long as the lab lives, so that two labs never share a block.
const (
	blockFirst    = 64  // A is 64 to 126: 127.0.0.0/10 is left to everybody else
	blockLast     = 126 // 127.127.0.0/16 likewise
	blockTries    = 64
	blockMachines = 200 // machines are .1 to .200
	blockPDUs     = 49  // PDUs are .201 to .249
	blockClaim    = 254
)

type block struct {
	a, b  byte
	claim net.Listener
}

// host returns 127.A.B.n.
func (b *block) host(n int) string {
	return netip.AddrFrom4([4]byte{127, b.a, b.b, byte(n)}).String() //nolint:gosec // n is at most blockClaim
}

// claimBlock takes a block that no other lab on this machine has.
func claimBlock(ctx context.Context) (*block, error) {
	var last error
	for range blockTries {
		b := &block{
			a: byte(blockFirst + rand.IntN(blockLast-blockFirst+1)), //nolint:gosec // at most blockLast
			b: byte(rand.IntN(256)),                                 //nolint:gosec // at most 255
		}
		b.claim, last = listenTCP(ctx, b.host(blockClaim))
		if last == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("no free block of loopback addresses in %d tries: %w", blockTries, last)
}

// claimBlocks takes as many blocks as the machines and PDUs need.
func claimBlocks(ctx context.Context, machines, pdus int) ([]*block, error) {
	need := max(1, ceilDiv(machines, blockMachines), ceilDiv(pdus, blockPDUs))
	var blocks []*block
	for len(blocks) < need {
		b, err := claimBlock(ctx)
		if err != nil {
			return nil, errors.Join(err, releaseBlocks(blocks))
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func releaseBlocks(blocks []*block) error {
	var errs []error
	for _, b := range blocks {
		errs = append(errs, b.claim.Close())
	}
	return errors.Join(errs...)
}

func machineAddr(blocks []*block, i int) string {
	return blocks[i/blockMachines].host(1 + i%blockMachines)
}

func pduAddr(blocks []*block, i int) string {
	return blocks[i/blockPDUs].host(1 + blockMachines + i%blockPDUs)
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// listenTCP opens SSHPort.
func listenTCP(ctx context.Context, host string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp4", hostPort(host, SSHPort))
}

func listenUDP(host string, port int) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(hostPort(host, port))))
}

func hostPort(host string, port int) string { return fmt.Sprintf("%s:%d", host, port) }
