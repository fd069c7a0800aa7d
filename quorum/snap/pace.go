package snap

import "perch/quorum/disk"

// pacedFile writes a file front to back, syncing it now and then, so that the
// kernel never gathers more than syncBytes that one sync of the log beside it
// would have to wait for.
type pacedFile struct {
	file     disk.File
	off      int64
	unsynced int
	limit    int               // bytes between two syncs
	pace     func(n int) error // nil: no brake
}

func (f *pacedFile) write(b []byte) error {
	if _, err := f.file.WriteAt(b, f.off); err != nil {
		return err
	}
	f.off += int64(len(b))
	if f.unsynced += len(b); f.unsynced >= f.limit {
		if err := f.file.Sync(); err != nil {
			return err
		}
		f.unsynced = 0
	}
	if f.pace != nil {
		return f.pace(len(b))
	}
	return nil
}
