//go:build unix

package trust

import (
	"io/fs"
	"os"
	"syscall"
)

// OwnedByUs says whether a file is this user's.
func OwnedByUs(info fs.FileInfo) bool { return ownedBy(info, os.Getuid()) }

func ownedBy(info fs.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}
