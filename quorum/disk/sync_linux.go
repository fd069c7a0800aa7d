package disk

import (
	"os"
	"syscall"
)

// Sync is fdatasync: bytes and length, but no time stamps, which would cost a
// journal commit for every group.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = syscall.Fdatasync(int(fd))
			if failed != syscall.EINTR { // interrupted, not failed: nothing was lost
				return
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
