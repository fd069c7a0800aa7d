package handlers

import (
	"net/http"

	"perch/gen/commandpb"
	"perch/handlers/audit"
	"perch/lease"
)

// checkAudit announces a change, or a download of everything, in a log without
// which there may be none: what cannot be told of is not begun.
func (e *edge) checkAudit(x *exchange) *failure {
	if !e.auditRequired || !x.op.audited() || e.writeAudit(x, audit.Begin) {
		return nil
	}
	return fail(string(lease.ErrOverloaded), "the audit log cannot be written")
}

// auditEnd tells of what was tried, and of a request that was denied.
func (e *edge) auditEnd(x *exchange) {
	denied := x.status == http.StatusUnauthorized || x.status == http.StatusForbidden
	if e.audit != nil && (denied || x.op != nil && x.op.audited()) {
		e.writeAudit(x, audit.End)
	}
}

// writeAudit says whether the line was written. A lost one is counted, and
// logged as often as it happens: it should never.
func (e *edge) writeAudit(x *exchange, event string) bool {
	entry := &audit.Entry{
		Time: x.begun, Event: event, Principal: x.caller.GetPrincipal(), Token: x.caller.GetToken(),
		Address: x.caller.GetAddress(), Method: logMethod(x.method), Route: x.routeName(), Path: x.path,
		Subjects: x.about, Status: x.status, Code: x.code, Reason: x.reason, RequestID: x.requestID(),
	}
	if roles := x.caller.GetRoles(); len(roles) > 0 {
		entry.Tenant = roles[0]
	}
	if event == audit.End {
		entry.Zxid, entry.Location = x.header("Perch-Zxid"), x.header("Location")
	}
	if err := e.audit.Write(entry); err != nil {
		e.metrics.auditLost.Inc()
		e.log.Error("a line of the audit log is lost", "request_id", x.requestID(), "error", err)
		return false
	}
	return true
}

// concerns tells the audit log what else a request is about, where its path does
// not say.
func (x *exchange) concerns(what ...string) { x.about = append(x.about, what...) }

// changedPaths are those of ops but for the ones that only look.
func changedPaths(ops []*commandpb.Op) (paths []string) {
	for _, op := range ops {
		switch op := op.GetOp().(type) {
		case *commandpb.Op_Create:
			paths = append(paths, op.Create.GetPath())
		case *commandpb.Op_Put:
			paths = append(paths, op.Put.GetPath())
		case *commandpb.Op_Delete:
			paths = append(paths, op.Delete.GetPath())
		}
	}
	return paths
}
