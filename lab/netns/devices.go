//go:build lab && linux

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Accounts of the machines and devices.
const (
	SSHUser     = "roller"
	BMCUser     = "admin" // ADMINISTRATOR
	BMCPassword = "s3cret-bmc"
	Community   = "s3cret-rw" // SNMP v2c, read and write

	V3User         = "rebooter" // SNMP v3, SHA and AES, read and write
	V3AuthPassword = "s3cret-auth"
	V3PrivPassword = "s3cret-priv"

	V3User256  = "rebooter256" // the same with SHA-256
	V3UserOpen = "nobody"      // without authentication, read only
)

// V3Users are more users who may write, with the same passwords: what snmpd can
// sign and encrypt with besides.
var V3Users = map[string]struct{ Auth, Priv string }{
	"rebooter224": {"SHA-224", "AES"},
	"rebooter384": {"SHA-384", "AES"},
	"rebooter512": {"SHA-512", "AES"},
	"rebooteraes": {"SHA-512", "AES-256"},
}

const pduName = "pdu1.mdc%d.example" // by the site

// lanConf is ipmi_lan(5)'s: address, port, GUID, hook, user and password.
const lanConf = `name "bmc%[1]d"
set_working_mc 0x20
  startlan 1
    addr %[2]s %[3]d
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789ab%04[1]x
  endlan
  chassis_control "%[4]s bmc %[5]s"
  user 2 true "%[6]s" "%[7]s" admin 20 none md2 md5 straight
`

// emulation is ipmi_sim_cmd(5)'s: a BMC with an empty event log.
const emulation = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
`

// addBMC starts OpenIPMI's ipmi_sim for machine number n.
func (l *Lab) addBMC(n int, m *Machine) error {
	dir := filepath.Join(l.dir, "bmcs", fmt.Sprintf("%03d", n))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	if m.bmc, err = l.plugDevice(fmt.Sprintf("b%d", n), l.addr(firstBMC+n), ipmiPort); err != nil {
		return err
	}
	err = writeFiles(dir, map[string]string{
		"lan.conf": fmt.Sprintf(lanConf, n, m.bmc.Addr, ipmiPort, m.rig.Program, m.rig.Dir, BMCUser, BMCPassword),
		"sim.emu":  emulation,
	})
	if err != nil {
		return err
	}
	return l.daemon(m.bmc, filepath.Join(dir, "ipmi_sim.log"), nil,
		"ipmi_sim", "-c", "lan.conf", "-f", "sim.emu", "-s", dir, "-n")
}

const snmpdConf = `agentAddress udp:%[1]s:%[2]d
rwcommunity %[3]s
createUser %[4]s SHA "%[5]s" AES "%[6]s"
rwuser %[4]s priv
createUser %[9]s SHA-256 "%[5]s" AES "%[6]s"
rwuser %[9]s priv
createUser %[10]s
rouser %[10]s noauth
%[11]ssysObjectID .1.3.6.1.4.1.1718.3
pass_persist .1.3.6.1.4.1.1718.3.2.3.1 %[7]s pdu %[8]s
pass_persist .1.3.6.1.4.1.318.1.1.12.3 %[7]s apc %[8]s
`

// addPDU starts net-snmp's snmpd with an outlet for each machine. The tables it
// is told to leave out would look at the host.
func (l *Lab) addPDU(program string) error {
	dir := filepath.Join(l.dir, "pdus", "1")
	persistent := filepath.Join(dir, "persistent") // where snmpd keeps a snmpd.conf of its own
	if err := os.MkdirAll(persistent, 0o700); err != nil {
		return err
	}
	var err error
	if l.pdu, err = l.plugDevice("p1", l.addr(pduHost), snmpPort); err != nil {
		return err
	}
	var more strings.Builder
	for name, u := range V3Users {
		fmt.Fprintf(&more, "createUser %s %s %q %s %q\nrwuser %s priv\n", name, u.Auth, V3AuthPassword, u.Priv, V3PrivPassword, name)
	}
	err = writeFiles(dir, map[string]string{"snmpd.conf": fmt.Sprintf(snmpdConf,
		l.pdu.Addr, snmpPort, Community, V3User, V3AuthPassword, V3PrivPassword, program, l.machinesDir(), V3User256, V3UserOpen, &more)})
	if err != nil {
		return err
	}
	return l.daemon(l.pdu, filepath.Join(dir, "snmpd.log"), []string{"SNMP_PERSISTENT_DIR=" + persistent, "MIBS="},
		"snmpd", "-f", "-Lo", "-C", "-c", "snmpd.conf", "-I", "-smux,mteTrigger,mteTriggerConf")
}
