package quorum

import (
	"encoding/binary"
	"errors"
)

const (
	// MaxVoters bounds the voters of a configuration.
	MaxVoters = 9
	// MaxMembers bounds the members of a configuration, observers included.
	MaxMembers = 32
	// MaxAddr bounds the address of a member, in bytes.
	MaxAddr = 300
)

// ErrConfiguration says that bytes are no Configuration or no Change.
var ErrConfiguration = errors.New("quorum: not a configuration")

// Configuration is who takes part, from a position of the log on. It stands in
// the log as an entry of kind EntryConfig, whole, so that cutting the log takes
// it back too (ZAB.md 1); the founding list is the one of version 0.
type Configuration struct {
	Version Zxid     // of the entry that made it
	Members []Member // by id
}

// Member returns the line of a node; false when it is no member.
func (cf *Configuration) Member(id NodeID) (Member, bool) {
	for i := range cf.Members { // they are few, and this is asked all the time
		if cf.Members[i].ID == id {
			return cf.Members[i], true
		}
	}
	return Member{}, false
}

// Voters is the number of members that decide.
func (cf *Configuration) Voters() (n int) {
	for i := range cf.Members {
		if cf.Members[i].Role == RoleVoter {
			n++
		}
	}
	return n
}

// Encode writes a configuration for the log and for SnapMeta.Config.
func (cf *Configuration) Encode() []byte {
	b := binary.LittleEndian.AppendUint64([]byte{formatConfig}, uint64(cf.Version))
	b = append(b, byte(len(cf.Members)))
	for i := range cf.Members {
		b = appendMember(b, &cf.Members[i])
	}
	return b
}

// DecodeConfiguration reads what Encode wrote. The error is ErrConfiguration.
func DecodeConfiguration(b []byte) (Configuration, error) {
	p := parser{b: b}
	p.format(formatConfig)
	cf := Configuration{Version: Zxid(p.uint64())}
	var last NodeID
	for range p.count(MaxMembers) {
		m := p.member()
		if m.ID <= last {
			p.bad = true
		}
		last = m.ID
		cf.Members = append(cf.Members, m)
	}
	if !p.ended() || cf.Voters() > MaxVoters {
		return Configuration{}, ErrConfiguration
	}
	return cf, nil
}

// Change is what an operator asks of the membership. The leader makes a
// Configuration of it, fills in the incarnations, and refuses it with a Cause.
type Change struct {
	Set    []MemberChange // added, or changed in role or address
	Remove []NodeID
	Expect Zxid // version of the configuration that it was made for; 0: any
	Force  bool // accept a configuration of two voters
}

// MemberChange is one member as it should be.
type MemberChange struct {
	ID      NodeID
	Role    Role
	Addr    string // "": as it is
	Replace bool   // the same id on another disk than before (RULES.md R10)
}

// Encode writes a change for the way to the leader.
func (ch *Change) Encode() []byte {
	b := binary.LittleEndian.AppendUint64([]byte{formatChange}, uint64(ch.Expect))
	b = append(b, flag(ch.Force), byte(len(ch.Set)))
	for _, s := range ch.Set {
		m := Member{ID: s.ID, Role: s.Role, Addr: s.Addr}
		b = append(appendMember(b, &m), flag(s.Replace))
	}
	b = append(b, byte(len(ch.Remove)))
	for _, id := range ch.Remove {
		b = binary.LittleEndian.AppendUint16(b, uint16(id))
	}
	return b
}

// DecodeChange reads what Encode wrote. The error is ErrConfiguration.
func DecodeChange(b []byte) (Change, error) {
	p := parser{b: b}
	p.format(formatChange)
	ch := Change{Expect: Zxid(p.uint64()), Force: p.byte() == 1}
	for range p.count(MaxMembers) {
		m := p.member()
		ch.Set = append(ch.Set, MemberChange{ID: m.ID, Role: m.Role, Addr: m.Addr, Replace: p.byte() == 1})
	}
	for range p.count(MaxMembers) {
		ch.Remove = append(ch.Remove, p.id())
	}
	if !p.ended() {
		return Change{}, ErrConfiguration
	}
	return ch, nil
}

const (
	formatConfig = 1
	formatChange = 2
)

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendMember(b []byte, m *Member) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(m.ID))
	b = append(b, byte(m.Role))
	b = append(b, m.Incarnation[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Addr)))
	return append(b, m.Addr...)
}

// parser takes values off bytes; past their end it gives zeros and is bad.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if n > len(p.b) {
		p.bad, p.b = true, nil
		return make([]byte, n)
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) format(want byte) { p.bad = p.byte() != want || p.bad }
func (p *parser) byte() byte       { return p.take(1)[0] }
func (p *parser) uint64() uint64   { return binary.LittleEndian.Uint64(p.take(8)) }
func (p *parser) ended() bool      { return !p.bad && len(p.b) == 0 }

func (p *parser) id() NodeID {
	id := NodeID(binary.LittleEndian.Uint16(p.take(2)))
	p.bad = p.bad || id == 0
	return id
}

func (p *parser) count(most int) int {
	n := int(p.byte())
	if p.bad = p.bad || n > most; p.bad {
		return 0
	}
	return n
}

func (p *parser) member() (m Member) {
	m.ID, m.Role = p.id(), Role(p.byte())
	copy(m.Incarnation[:], p.take(len(m.Incarnation)))
	n := int(binary.LittleEndian.Uint16(p.take(2)))
	if p.bad = p.bad || n > MaxAddr || m.Role != RoleVoter && m.Role != RoleObserver; !p.bad {
		m.Addr = string(p.take(n))
	}
	return m
}
