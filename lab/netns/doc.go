// Package netns is a lab of real peers for `make test-lab`: OpenSSH, OpenIPMI's
// ipmi_sim and net-snmp's snmpd, each machine and each device in a network
// namespace of its own on one bridge without a way out. What powers a machine
// really takes it off the network and kills everything that runs on it, and
// every command and every change is logged by the devices themselves: an oracle
// that is independent of roller, and made of parts that share no code with it.
//
// It needs Linux, root and the Debian packages openssh-server, openipmi,
// ipmitool, snmpd, snmp, fping, iproute2, nftables and util-linux, so all of it
// but this file is built with the tag "lab" only.
package netns
