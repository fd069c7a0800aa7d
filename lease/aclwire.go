package lease

import (
	"perch/gen/commandpb"
	"perch/tree"
)

// aclEntries are the entries of a command, as the tree takes them. Permissions
// that no ACL knows stay such.
func aclEntries(list []*commandpb.AclEntry) []tree.ACLEntry {
	entries := make([]tree.ACLEntry, 0, len(list))
	for _, e := range list {
		entries = append(entries, tree.ACLEntry{Scheme: e.GetScheme(), ID: e.GetId(), Perms: tree.Perms(min(e.GetPerms(), 255))})
	}
	return entries
}

// aclOf is the stored list; without entries it is the open one.
func aclOf(list []*commandpb.AclEntry) *tree.ACL {
	if len(list) == 0 {
		return nil
	}
	return &tree.ACL{Entries: aclEntries(list)}
}

// aclMessage is a as it is stored; the open one has no entries.
func aclMessage(a *tree.ACL) []*commandpb.AclEntry {
	if a == nil {
		return nil
	}
	list := make([]*commandpb.AclEntry, 0, len(a.Entries))
	for _, e := range a.Entries {
		list = append(list, &commandpb.AclEntry{Scheme: e.Scheme, Id: e.ID, Perms: uint32(e.Perms)})
	}
	return list
}
