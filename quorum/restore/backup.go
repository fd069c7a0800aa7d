package restore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/snap"
)

// A backup file is one line of text, which `head -1` shows, and a snapshot file as
// package snap draws it:
//
//	PERCHBACKUP {"format":1,"cluster":"…", …} crc32c\n
//	PERCHSNP …
//
// The crc, eight hexadecimal digits, covers everything before the space in front
// of it.
const (
	backupMagic  = "PERCHBACKUP "
	backupFormat = 1
	lineMost     = 4 << 10 // bytes of the line
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Head is the line that a backup file begins with.
type Head struct {
	Format  int          `json:"format"`
	Cluster string       `json:"cluster"` // id, hexadecimal
	Name    string       `json:"cluster_name"`
	Zxid    quorum.Zxid  `json:"zxid"`
	Epoch   quorum.Epoch `json:"epoch"`  // highest that the node knew; at least that of Zxid
	Digest  string       `json:"digest"` // of the state, hexadecimal
	Size    int64        `json:"size"`   // bytes of the snapshot behind the line
}

// NewHead describes a backup of the state in a snapshot file.
func NewHead(m quorum.SnapMeta, cluster quorum.ClusterID, name string, epoch quorum.Epoch) Head {
	return Head{
		Format: backupFormat, Cluster: hex.EncodeToString(cluster[:]), Name: name, Zxid: m.Zxid,
		Epoch: max(epoch, m.Zxid.Epoch()), Digest: DigestText(m.Digest), Size: m.Size,
	}
}

// DigestText is how the digest of a state is shown everywhere.
func DigestText(d uint64) string { return fmt.Sprintf("%016x", d) }

// Line is the head as it stands in the file.
func (h Head) Line() ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	line := append([]byte(backupMagic), b...)
	if len(line)+10 > lineMost {
		return nil, fmt.Errorf("a head of %d bytes", len(line))
	}
	return fmt.Appendf(line, " %08x\n", crc32.Checksum(line, castagnoli)), nil
}

var errHead = errors.New("no backup of Perch, or its first line is damaged")

// parseHead reads the line at the beginning of b and says how long it is.
func parseHead(b []byte) (h Head, n int, err error) {
	line, _, ended := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(line, backupMagic) || !ended {
		return h, 0, errHead
	}
	at := strings.LastIndexByte(line, ' ')
	if fmt.Sprintf("%08x", crc32.Checksum([]byte(line[:at]), castagnoli)) != line[at+1:] {
		return h, 0, errHead
	}
	if err := json.Unmarshal([]byte(line[len(backupMagic):at]), &h); err != nil {
		return h, 0, errHead
	}
	if h.Format != backupFormat {
		return h, 0, fmt.Errorf("a backup of format %d; this program reads format %d", h.Format, backupFormat)
	}
	return h, len(line) + 1, nil
}

// Backup is an open backup file. It belongs to one goroutine.
type Backup struct {
	Head
	file *os.File
	body *snap.Reader
}

// OpenBackup opens a backup file and reads its head. What is damaged is a
// *disk.DamageError, here and in what Read returns.
func OpenBackup(path string) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := openBackup(f, path)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return b, nil
}

func openBackup(f *os.File, path string) (*Backup, error) {
	bad := func(err error) error {
		return &disk.DamageError{File: path, Reason: err.Error(), Remedy: remedyBackup}
	}
	line := make([]byte, lineMost)
	n, err := f.ReadAt(line, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	b := &Backup{file: f}
	if b.Head, n, err = parseHead(line[:n]); err != nil {
		return nil, bad(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if have := info.Size() - int64(n); have != b.Size {
		return nil, bad(fmt.Errorf("the file holds %d bytes of a snapshot of %d: it was cut off, or something stands behind it", have, b.Size))
	}
	if b.body, err = snap.Read(f, int64(n), b.Size, path); err != nil {
		return nil, ofBackup(err)
	}
	if m := b.body.Meta(); m.Zxid != b.Zxid || DigestText(m.Digest) != b.Digest {
		return nil, bad(fmt.Errorf("the first line speaks of the state at %v, the snapshot behind it is of %v", b.Zxid, m.Zxid))
	}
	return b, nil
}

const remedyBackup = "use another backup; this one is not restored"

// ofBackup has damage name the remedy for a backup.
func ofBackup(err error) error {
	var d *disk.DamageError
	if errors.As(err, &d) {
		d.Remedy = remedyBackup
	}
	return err
}

// Read reads the state, as lease.View.WriteTo wrote it; io.EOF comes after all of
// it was found right.
func (b *Backup) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	return n, ofBackup(err)
}

// Close closes the file.
func (b *Backup) Close() error { return b.file.Close() }
