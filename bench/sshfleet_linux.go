package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
)

// sshFleet is machines that are the kernel's addresses and one SSH server for all of
// them. One that is told to reboot falls silent, until it is brought back.
type sshFleet struct {
	net      *kernelNet
	listener net.Listener
	config   *ssh.ServerConfig
	host     ssh.PublicKey
	serving  sync.WaitGroup

	mu    sync.Mutex
	down  map[netip.Addr]bool
	conns map[netip.Addr][]net.Conn
	errs  []error
}

// startFleet listens on the port of SSH.
func startFleet(ctx context.Context) (*sshFleet, error) {
	kernel, err := newKernelNet()
	if err != nil {
		return nil, fmt.Errorf("set up a network: %w", err)
	}
	f := &sshFleet{net: kernel, down: map[netip.Addr]bool{}, conns: map[netip.Addr][]net.Conn{}}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	host, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	f.config = &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return &ssh.Permissions{}, nil }}
	f.config.AddHostKey(host)
	f.host = host.PublicKey()
	if f.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", ":22"); err != nil {
		return nil, err
	}
	f.serving.Go(f.accept)
	return f, nil
}

// files writes an inventory of so many machines, and returns roller's environment.
func (f *sshFleet) files(dir string, machines int) (map[string]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	_, account, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(account, "bench")
	if err != nil {
		return nil, err
	}
	keyFile, hostsFile, list := filepath.Join(dir, "ssh.key"), filepath.Join(dir, "known_hosts"), filepath.Join(dir, "ssh.json")
	entries := map[string]any{}
	for i := range machines {
		entries[machineID("m", i)+".test.releng.mdc1.mozilla.com"] = map[string]any{
			"addr": address(i).String(), "ssh": map[string]string{"user": "reboot", "key_file": keyFile},
		}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	hostKey := "* " + string(ssh.MarshalAuthorizedKey(f.host))
	return map[string]string{
			"FQDN_TO_SSH_FILE": list, "SSH_KNOWN_HOSTS_FILE": hostsFile, "REBOOT_METHODS": "ssh_reboot",
		}, errors.Join(os.WriteFile(list, text, 0o600), os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600),
			os.WriteFile(hostsFile, []byte(hostKey), 0o600))
}

// address of a machine.
func address(i int) netip.Addr {
	a := machineNet.Addr().As4()
	return netip.AddrFrom4([4]byte{a[0], a[1] + byte(i>>16), byte(i >> 8), byte(i)}) //nolint:gosec // fewer than the prefix has
}

func (f *sshFleet) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		addr := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		f.mu.Lock()
		f.conns[addr] = append(f.conns[addr], conn)
		f.mu.Unlock()
		f.serving.Go(func() { f.serve(conn, addr) })
	}
}

// serve is one connection. One that carried a reboot takes the machine down when the
// client has left.
func (f *sshFleet) serve(conn net.Conn, addr netip.Addr) {
	server, channels, requests, err := ssh.NewServerConn(conn, f.config)
	if err != nil {
		_ = conn.Close()
		return // a probe, which reads the banner
	}
	f.serving.Go(func() { ssh.DiscardRequests(requests) })
	rebooted := false
	for offered := range channels {
		session, asked, err := offered.Accept()
		if err != nil {
			continue
		}
		for r := range asked {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				rebooted = true
				_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{})) // RFC 4254, 6.10
				_ = session.Close()
			}
		}
	}
	_ = server.Close()
	if rebooted {
		f.fall(addr)
	}
}

func (f *sshFleet) fall(addr netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, f.net.down(addr))
	f.down[addr] = true
}

// rise brings a machine back, with an operating system that knows nothing of the
// connections before.
func (f *sshFleet) rise(addr netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns[addr] {
		_ = conn.Close()
	}
	delete(f.conns, addr)
	delete(f.down, addr)
	return f.net.up(addr)
}

// fallen is how many machines are down.
func (f *sshFleet) fallen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.down)
}

func (f *sshFleet) close() error {
	err := f.listener.Close()
	f.mu.Lock()
	for _, conns := range f.conns {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	for addr := range f.down { // the next fleet has the same addresses
		f.errs = append(f.errs, f.net.up(addr))
	}
	err = errors.Join(append(f.errs, err, f.net.close())...)
	f.mu.Unlock()
	f.serving.Wait()
	return err
}
