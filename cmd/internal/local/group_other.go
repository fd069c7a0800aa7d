//go:build !linux

package local

import "syscall"

// ownGroup puts a node in a process group of its own, so that Ctrl-C at the
// terminal reaches only the program that stops the nodes in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
