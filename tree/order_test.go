package tree

import "testing"

// TestOrderOfChecks: for every operation, each fault hides those that come after
// it (API.md rule 5, and PrepRequestProcessor of ZooKeeper 3.9).
func TestOrderOfChecks(t *testing.T) {
	create := func(op CreateOp) func(h *hand) Code { return func(h *hand) Code { return h.create(op) } }
	put := func(op PutOp) func(h *hand) Code { return func(h *hand) Code { return h.put(op) } }
	del := func(op DeleteOp) func(h *hand) Code { return func(h *hand) Code { return h.delete(op) } }
	check := func(op CheckOp) func(h *hand) Code {
		return func(h *hand) Code { return h.do(func(x *Txn) Code { return h.tree.Check(x, op) }) }
	}
	version, tag := Condition{Kind: CondVersion, Version: 9}, Condition{Kind: CondETag, ETag: 9}
	absent, present := Condition{Kind: CondAbsent}, Condition{Kind: CondPresent}
	both := Condition{Kind: CondBoth, Version: 9}
	aversion := int64(9)

	// The tree: /open may be used by all, /shut and what is in it by nobody;
	// /mixed is shut and holds /mixed/open; /full has a quota that is used up; /e
	// is ephemeral.
	for name, c := range map[string]struct {
		guard Guard
		do    func(h *hand) Code
		want  Code
	}{
		"create: the path comes first":             {as("x"), create(CreateOp{Path: "/shut/", ACL: []ACLEntry{{}}}), ErrInvalidPath},
		"create: reserved":                         {without("/perch/x", PermCreate), create(CreateOp{Path: "/perch/x"}), ErrReservedPath},
		"create: the list before the grant":        {without("/open/x", PermCreate), create(CreateOp{Path: "/open/x", ACL: []ACLEntry{{}}}), ErrInvalidACL},
		"create: the grant before the parent":      {without("/none/x", PermCreate), create(CreateOp{Path: "/none/x"}), ErrPermissionDenied},
		"create: the parent before its ACL":        {as("x"), create(CreateOp{Path: "/shut/none/x"}), ErrNoParent},
		"create: the ACL before exists":            {as("x"), create(CreateOp{Path: "/shut/n"}), ErrPermissionDenied},
		"create: exists":                           {as("x"), create(CreateOp{Path: "/open/n"}), ErrNodeExists},
		"create: exists before the kind of parent": {as("x"), create(CreateOp{Path: "/e"}), ErrNodeExists},
		"create: the ACL before the kind":          {as("x"), create(CreateOp{Path: "/shut/e/x"}), ErrPermissionDenied},
		"create: the kind before the quota":        {as("x"), create(CreateOp{Path: "/full/e/x"}), ErrNoChildrenForEphemeral},
		"create: the quota":                        {as("x"), create(CreateOp{Path: "/full/x"}), ErrQuotaExceeded},
		"create: parents ask the nearest one":      {as("x"), create(CreateOp{Path: "/shut/a/b", Parents: true}), ErrPermissionDenied},
		"create: parents ask no other one":         {as("x"), create(CreateOp{Path: "/mixed/open/a/b", Parents: true}), OK},
		"create: parents need grants":              {without("/open/a", PermCreate), create(CreateOp{Path: "/open/a/b", Parents: true}), ErrPermissionDenied},
		"create: sequential, by its whole name":    {without("/open/s0000000003", PermCreate), create(CreateOp{Path: "/open/s", Sequential: true}), ErrPermissionDenied},

		"put: the grant before exists":       {without("/none", PermWrite|PermCreate), put(PutOp{Path: "/none"}), ErrPermissionDenied},
		"put: changes without create":        {without("/open/n", PermCreate), put(PutOp{Path: "/open/n"}), OK},
		"put: creates without write":         {without("/open/x", PermWrite), put(PutOp{Path: "/open/x"}), OK},
		"put: creates with create alone":     {without("/open/x", PermCreate), put(PutOp{Path: "/open/x"}), ErrPermissionDenied},
		"put: changes with write alone":      {without("/open/n", PermWrite), put(PutOp{Path: "/open/n"}), ErrPermissionDenied},
		"put: the node's ACL":                {as("x"), put(PutOp{Path: "/shut/n"}), ErrPermissionDenied},
		"put: not the parent's ACL":          {as("x"), put(PutOp{Path: "/mixed/open"}), OK},
		"put: the ACL before the version":    {as("x"), put(PutOp{Path: "/shut/n", Condition: version}), ErrPermissionDenied},
		"put: the ACL before the kind":       {as("x"), put(PutOp{Path: "/shut/n", Mode: ModeTTL, TTLMs: 50}), ErrPermissionDenied},
		"put: the kind before the version":   {as("x"), put(PutOp{Path: "/open/n", Mode: ModeTTL, TTLMs: 50, Condition: version}), ErrNodeExists},
		"put: the version before the quota":  {as("x"), put(PutOp{Path: "/full", Data: []byte("x"), Condition: version}), ErrVersionMismatch},
		"put: the version before the tag":    {as("x"), put(PutOp{Path: "/open/n", Condition: both}), ErrVersionMismatch},
		"put: the quota":                     {as("x"), put(PutOp{Path: "/full", Data: []byte("x")}), ErrQuotaExceeded},
		"put: a version of none":             {as("x"), put(PutOp{Path: "/shut/none", Condition: version}), ErrNoNode},
		"put: a tag of none":                 {as("x"), put(PutOp{Path: "/shut/none", Condition: tag}), ErrETagMismatch},
		"put: present of none":               {as("x"), put(PutOp{Path: "/shut/none", Condition: present}), ErrETagMismatch},
		"put: a condition needs write":       {without("/open/none", PermWrite), put(PutOp{Path: "/open/none", Condition: version}), ErrPermissionDenied},
		"put: existing of none":              {as("x"), put(PutOp{Path: "/open/none", Existing: true}), ErrNoNode},
		"put: existing needs write":          {without("/open/none", PermWrite), put(PutOp{Path: "/open/none", Existing: true}), ErrPermissionDenied},
		"put: absent needs create":           {without("/open/n", PermCreate), put(PutOp{Path: "/open/n", Condition: absent}), ErrPermissionDenied},
		"put: absent asks the parent":        {as("x"), put(PutOp{Path: "/mixed/open", Condition: absent}), ErrPermissionDenied},
		"put: absent needs no write":         {without("/open/n", PermWrite), put(PutOp{Path: "/open/n", Condition: absent}), ErrETagMismatch},
		"put: absent of the root":            {as("x"), put(PutOp{Path: "/", Condition: absent}), ErrETagMismatch},
		"put: no parent before the parent's": {as("x"), put(PutOp{Path: "/shut/none/x"}), ErrNoParent},
		"put: creates by the parent's ACL":   {as("x"), put(PutOp{Path: "/shut/none"}), ErrPermissionDenied},

		"delete: the grant before exists":        {without("/none", PermDelete), del(DeleteOp{Path: "/none"}), ErrPermissionDenied},
		"delete: the parent's ACL before exists": {as("x"), del(DeleteOp{Path: "/shut/none"}), ErrPermissionDenied},
		"delete: exists":                         {as("x"), del(DeleteOp{Path: "/open/none"}), ErrNoNode},
		"delete: no parent":                      {as("x"), del(DeleteOp{Path: "/none/n"}), ErrNoNode},
		"delete: the parent's ACL":               {as("x"), del(DeleteOp{Path: "/shut/n", Condition: version}), ErrPermissionDenied},
		"delete: not the node's ACL":             {as("x"), del(DeleteOp{Path: "/leaf"}), OK},
		"delete: the version before not empty":   {as("x"), del(DeleteOp{Path: "/open", Condition: version}), ErrVersionMismatch},
		"delete: the tag before not empty":       {as("x"), del(DeleteOp{Path: "/open", Condition: tag}), ErrETagMismatch},
		"delete: not empty before what is below": {as("x"), del(DeleteOp{Path: "/shut"}), ErrNotEmpty},
		"delete: everything below":               {as("x"), del(DeleteOp{Path: "/shut", Recursive: true}), ErrPermissionDenied},
		"delete: grants below":                   {without("/open/n", PermDelete), del(DeleteOp{Path: "/open", Recursive: true}), ErrPermissionDenied},
		"delete: recursive":                      {as("x"), del(DeleteOp{Path: "/open", Recursive: true}), OK},
		"delete: over a quota":                   {as("x"), del(DeleteOp{Path: "/full", Recursive: true}), OK},

		"check: the grant before exists":  {without("/none", PermRead), check(CheckOp{Path: "/none"}), ErrPermissionDenied},
		"check: exists":                   {as("x"), check(CheckOp{Path: "/none"}), ErrNoNode},
		"check: a version of none":        {as("x"), check(CheckOp{Path: "/none", Condition: version}), ErrNoNode},
		"check: the ACL before version":   {as("x"), check(CheckOp{Path: "/shut/n", Condition: version}), ErrPermissionDenied},
		"check: the version":              {as("x"), check(CheckOp{Path: "/open/n", Condition: version}), ErrVersionMismatch},
		"check: absent":                   {as("x"), check(CheckOp{Path: "/none", Condition: absent}), OK},
		"check: absent needs no ACL":      {as("x"), check(CheckOp{Path: "/shut/n", Condition: absent}), ErrETagMismatch},
		"check: absent needs a grant":     {without("/none", PermRead), check(CheckOp{Path: "/none", Condition: absent}), ErrPermissionDenied},
		"check: there, whatever it holds": {as("x"), check(CheckOp{Path: "/open/n"}), OK},
		"check: no path":                  {as("x"), check(CheckOp{Path: "open"}), ErrInvalidPath},
		"check: no version":               {as("x"), check(CheckOp{Path: "/open", Condition: Condition{Kind: CondVersion, Version: -2}}), ErrInvalidArgument},

		"acl: the list before exists":  {as("x"), func(h *hand) Code { return h.setACL(SetACLOp{Path: "/none"}) }, ErrInvalidACL},
		"acl: the grant before exists": {without("/none", PermAdmin), func(h *hand) Code { return h.setACL(SetACLOp{Path: "/none", ACL: onlyPrincipal("x", 1)}) }, ErrPermissionDenied},
		"acl: exists":                  {as("x"), func(h *hand) Code { return h.setACL(SetACLOp{Path: "/none", ACL: onlyPrincipal("x", 1)}) }, ErrNoNode},
		"acl: admin before the aversion": {as("x"), func(h *hand) Code {
			return h.setACL(SetACLOp{Path: "/shut", ACL: onlyPrincipal("x", 1), Aversion: &aversion})
		}, ErrPermissionDenied},
		"acl: the aversion": {as("x"), func(h *hand) Code {
			return h.setACL(SetACLOp{Path: "/open", ACL: onlyPrincipal("x", 1), Aversion: &aversion})
		}, ErrVersionMismatch},
		"acl: reserved":                     {as("x"), func(h *hand) Code { return h.setACL(SetACLOp{Path: "/perch", ACL: onlyPrincipal("x", 1)}) }, ErrReservedPath},
		"default: admin":                    {as("x"), func(h *hand) Code { return h.setDefault(SetDefaultACLOp{Path: "/shut"}) }, ErrPermissionDenied},
		"default: exists":                   {as("x"), func(h *hand) Code { return h.setDefault(SetDefaultACLOp{Path: "/none"}) }, ErrNoNode},
		"default: admin before the tag":     {as("x"), func(h *hand) Code { return h.setDefault(SetDefaultACLOp{Path: "/shut", Present: true}) }, ErrPermissionDenied},
		"quota: admin":                      {as("x"), func(h *hand) Code { return h.setQuota(SetQuotaOp{Path: "/shut", Remove: true}) }, ErrPermissionDenied},
		"quota: the grant before exists":    {without("/none", PermAdmin), func(h *hand) Code { return h.setQuota(SetQuotaOp{Path: "/none", Remove: true}) }, ErrPermissionDenied},
		"quota: the bounds before the node": {as("x"), func(h *hand) Code { return h.setQuota(SetQuotaOp{Path: "/none"}) }, ErrInvalidArgument},
	} {
		h := newHand(t)
		h.owner = 5
		h.make("/open", "/open/n", "/shut", "/shut/n", "/mixed", "/mixed/open", "/full", "/leaf")
		h.make("/open/m", "/open/o")
		for _, p := range []string{"/e", "/shut/e", "/full/e"} {
			h.ok(h.create(CreateOp{Path: p, Mode: ModeEphemeral}))
		}
		h.ok(h.setQuota(SetQuotaOp{Path: "/full", MaxNodes: bound(2), MaxBytes: bound(0)}))
		for _, p := range []string{"/shut/n", "/shut/e", "/shut", "/mixed", "/leaf"} {
			h.closeTo(p, principal("nobody", PermAll))
		}
		h.guard = c.guard
		before := h.tree.Sum()
		if got := c.do(h); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		} else if got != OK && h.tree.Sum() != before {
			t.Errorf("%s: refused, and changed the tree", name)
		}
	}
}

// TestGet: reading needs the grant, the node, and READ, in this order.
func TestGet(t *testing.T) {
	h := newHand(t)
	h.make("/n", "/shut")
	h.ok(h.put(PutOp{Path: "/n", Data: []byte("x")}))
	h.closeTo("/shut", principal("ann", PermRead))
	for _, c := range []struct {
		guard Guard
		path  string
		want  Code
	}{
		{nil, "/n", OK}, {nil, "/none", ErrNoNode}, {nil, "n", ErrInvalidPath},
		{as("bob"), "/shut", ErrPermissionDenied}, {as("ann"), "/shut", OK},
		{without("/none", PermRead), "/none", ErrPermissionDenied},
	} {
		h.guard = c.guard
		h.want(c.want, h.do(func(x *Txn) Code { _, code := h.tree.Get(x, c.path); return code }))
		_, code := h.tree.Freeze().Read(c.guard, c.path)
		h.want(c.want, code)
	}
	if n, _ := h.tree.Freeze().Read(nil, "/n"); string(n.Data) != "x" {
		t.Fatal(n)
	}
}
