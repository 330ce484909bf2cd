//go:build !linux

package activities

import "os/exec"

// dieWithWorker does nothing where the kernel has no such thing.
func dieWithWorker(*exec.Cmd) {}
