package handlers

import (
	"math"
	"strconv"
	"strings"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// tagMatch is a parsed If-Match or If-None-Match.
type tagMatch struct {
	given bool
	any   bool   // *
	tag   string // without quotes and W/; "" matches nothing
}

// parseTag reads one entity tag (API.md rule 6): `"812"`, `812` and `W/"812"`
// are the same tag, `""` matches nothing, lists are refused.
func parseTag(field string, value *string) (tagMatch, error) {
	if value == nil {
		return tagMatch{}, nil
	}
	text := strings.Trim(*value, " \t")
	if text == "*" {
		return tagMatch{given: true, any: true}, nil
	}
	text = strings.TrimPrefix(text, "W/")
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
		if strings.IndexFunc(text, notInTag) < 0 {
			return tagMatch{given: true, tag: text}, nil
		}
	} else if text != "" && strings.IndexFunc(text, notBare) < 0 {
		return tagMatch{given: true, tag: text}, nil
	}
	return tagMatch{}, badArgument(field, "it is not one entity tag")
}

// notInTag is what RFC 9110, 8.8.3 does not allow inside the quotes.
func notInTag(r rune) bool { return r < 0x21 || r == '"' || r == 0x7F }

// notBare also keeps lists from passing as a tag without quotes.
func notBare(r rune) bool { return notInTag(r) || r == ',' || r == '*' }

// matches says whether the tag of what is there is the one that was given.
// absentTag stands for nothing being there, which * does not match.
func (m tagMatch) matches(tag string) bool {
	if m.any {
		return tag != absentTag
	}
	return m.given && m.tag != "" && m.tag == tag
}

// floor is the newest zxid in a tag of any representation. A state older than
// that cannot be compared with it (RULES.md R24).
func (m tagMatch) floor() quorum.Zxid {
	if m.tag == "" || m.tag == absentTag {
		return 0
	}
	var newest uint64
	text := m.tag
	if strings.IndexByte(waitable, text[0]) >= 0 {
		text = text[1:]
	}
	parts := strings.SplitN(text, "-", 3)
	for _, part := range parts[:min(2, len(parts))] {
		z, err := strconv.ParseUint(part, 10, 63)
		if err != nil {
			return 0 // not one of our tags
		}
		newest = max(newest, z)
	}
	return quorum.Zxid(newest)
}

// waitable are the first letters of the tags that can be waited on, but for
// those of nodes: of children, and of what thingTag knows.
const waitable = "clsenbo"

// zxid is the tag as the mzxid of a node; 0, which no node has, when it is not
// one.
func (m tagMatch) zxid() uint64 {
	z, err := strconv.ParseUint(m.tag, 10, 63)
	if err != nil || strconv.FormatUint(z, 10) != m.tag {
		return 0
	}
	return z
}

// The tags of the representations (API.md rule 6), bare.

func nodeTag(s *tree.Stat) string { return formatZxid(s.Mzxid) }

func statTag(s *tree.Stat) string {
	b := make([]byte, 0, 48)
	b = strconv.AppendUint(b, uint64(s.Mzxid), 10)
	b = strconv.AppendUint(append(b, '-'), uint64(s.Pzxid), 10)
	b = strconv.AppendInt(append(b, '-'), s.Aversion, 10)
	return string(b)
}

func childrenTag(s *tree.Stat) string { return "c" + formatZxid(s.Pzxid) }

// aclTag moves with the ACL alone. The czxid is in it because a node that was
// deleted and created again begins with aversion 0 again.
func aclTag(s *tree.Stat) string {
	return "a" + formatZxid(s.Czxid) + "-" + strconv.FormatInt(s.Aversion, 10)
}

// acl is the tag as one of an ACL.
func (m tagMatch) acl() (czxid uint64, aversion int64, ok bool) {
	first, second, _ := strings.Cut(strings.TrimPrefix(m.tag, "a"), "-")
	czxid, _ = strconv.ParseUint(first, 10, 63)
	aversion, _ = strconv.ParseInt(second, 10, 64)
	stat := tree.Stat{Czxid: quorum.Zxid(czxid), Aversion: aversion}
	return czxid, aversion, m.tag == aclTag(&stat) && aversion >= 0
}

// defaultTag is that of the default ACL of a subtree, which was changed last at
// z; 0 when there is none.
func defaultTag(z quorum.Zxid) string { return "d" + formatZxid(z) }

// defaultACL is the tag as one of a default ACL.
func (m tagMatch) defaultACL() (z uint64, ok bool) {
	z, err := strconv.ParseUint(strings.TrimPrefix(m.tag, "d"), 10, 63)
	return z, err == nil && m.tag == defaultTag(quorum.Zxid(z))
}

// noZxid stands for a tag that matches nothing, where 0 is no condition.
const noZxid = math.MaxUint64

// quoted is a bare tag as it stands in the header.
func quoted(tag string) string { return `"` + tag + `"` }

// thingTag is the tag of something that is held, counted or queued and was
// changed last at z, 0 when it was never used.
func thingTag(kind commandpb.Kind, z quorum.Zxid) string {
	return string(thingLetters[kind]) + formatZxid(z)
}

var thingLetters = map[commandpb.Kind]byte{
	commandpb.Kind_KIND_LOCK: 'l', commandpb.Kind_KIND_SEMAPHORE: 's', commandpb.Kind_KIND_ELECTION: 'e', commandpb.Kind_KIND_ONCE: 'o',
	commandpb.Kind_KIND_COUNTER: 'n', commandpb.Kind_KIND_BARRIER: 'b', commandpb.Kind_KIND_QUEUE: 'q',
}

// tagOf gives the tag of a representation of an answer.
type tagOf func(*lease.Answer) string

func ofStat(tag func(*tree.Stat) string) tagOf {
	return func(a *lease.Answer) string { return tag(&a.Node.Stat) }
}

// The tags that a read of a node may wait on.
var (
	nodeTagOf     = ofStat(nodeTag)
	statTagOf     = ofStat(statTag)
	childrenTagOf = ofStat(childrenTag)
)
