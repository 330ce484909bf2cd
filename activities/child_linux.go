package activities

import (
	"os/exec"
	"syscall"
)

// dieWithWorker has the kernel kill a program when this process dies: one that
// outlived a killed worker would send its command after others have looked.
func dieWithWorker(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
