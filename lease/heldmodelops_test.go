package lease

import (
	"fmt"
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// The commands on the model of what is held. The token of a command's session is
// in its Caller's address, where apply does not look.

func thingOf(kind commandpb.Kind, name string) string { return fmt.Sprintf("%d/%s", kind+1, name) }

// run says whether a refused command has changed something nevertheless.
func (x *hmTxn) run(cmd *commandpb.Command) (code tree.Code, kept bool) {
	token := cmd.GetCaller().GetAddress()
	switch op := cmd.Op.(type) {
	case *commandpb.Command_Acquire:
		return x.acquire(token, op.Acquire)
	case *commandpb.Command_Leave:
		return x.leave(op.Leave)
	case *commandpb.Command_Release:
		return x.release(token, op.Release)
	case *commandpb.Command_OpenSession:
		switch {
		case x.byToken(token) != nil:
			s := *x.byToken(token)
			s.transient = false
			x.sessions[s.id] = &s
			return tree.OK, false
		case x.ended[token]:
			return tree.ErrSessionExpired, false
		}
		x.sessions[x.z] = &hmSession{id: x.z, token: token}
	case *commandpb.Command_CloseSession:
		s := x.byToken(token)
		if s == nil {
			return tree.ErrSessionExpired, false
		}
		x.endSession(s.id, howReleased)
	case *commandpb.Command_ExpireSessions:
		for _, id := range op.ExpireSessions.Ids {
			if x.sessions[quorum.Zxid(id)] != nil {
				x.endSession(quorum.Zxid(id), howExpired)
			}
		}
	case *commandpb.Command_Break:
		x.breakUpTo(thingOf(op.Break.Kind, op.Break.Name), x.z)
	case *commandpb.Command_Revoke:
		x.revoke(op.Revoke)
	case *commandpb.Command_Withdraw:
		x.withdraw(op.Withdraw)
	case *commandpb.Command_Lapse:
		x.lapse()
	case *commandpb.Command_Complete:
		return x.complete(token, op.Complete)
	case *commandpb.Command_Proclaim:
		s := x.byToken(token)
		if s == nil {
			return tree.ErrSessionExpired, false
		}
		thing := thingOf(kindElection, op.Proclaim.Name)
		if list := x.holdsOfThing(thing); len(list) == 0 || list[0].session != s.id {
			return tree.ErrNotLeader, false
		}
		x.values[thing] = op.Proclaim.Value
	}
	return tree.OK, false
}

func (x *hmTxn) acquire(token string, op *commandpb.Acquire) (code tree.Code, kept bool) {
	s := x.byToken(token)
	switch {
	case s == nil && x.ended[token]:
		return tree.ErrSessionExpired, false
	case s == nil:
		s = &hmSession{id: x.z, token: token, transient: true}
		x.sessions[x.z] = s
	}
	p := &hmPlace{
		id: x.z, session: s.id, owner: "o" + op.Owner, permits: max(op.Permits, 1), delay: op.LockDelayMs, value: op.Value, attach: 1,
		asking: true, home: op.Home.GetInstance(), stay: op.StayMs, most: int64(op.Run.GetMaxAttempts()), set: op.Set,
		shared: op.Wants[0].Shared,
	}
	if op.Set {
		p.owner = "so" + op.Owner
	}
	for _, w := range op.Wants {
		name := w.Name
		if op.Run != nil {
			name += "/" + op.Run.Key
		}
		p.things = append(p.things, thingOf(op.Kind, name))
	}
	slices.Sort(p.things)
	if limit := x.limits[p.things[0]]; op.Kind == kindSemaphore && limit > 0 && limit != op.Limit {
		return tree.ErrLimitMismatch, false
	}
	if own := x.own(p); own != nil {
		return x.holdAgain(p, own), false
	}
	for _, old := range x.places {
		if old.session != p.session || old.owner != p.owner || !slices.ContainsFunc(old.things, func(t string) bool { return slices.Contains(p.things, t) }) {
			continue
		}
		if !slices.Equal(old.things, p.things) || old.shared != p.shared || old.permits != p.permits {
			return tree.ErrModeMismatch, false
		}
		return x.askAgain(op, p, old)
	}
	return x.askFirst(op, p), false
}

// own is a hold of p's acquisition.
func (x *hmTxn) own(p *hmPlace) *hmHold {
	for _, thing := range p.things {
		for _, h := range x.holds {
			if h.session == p.session && h.owner == p.owner && h.thing == thing {
				return h
			}
		}
	}
	return nil
}

func (x *hmTxn) holdAgain(p *hmPlace, own *hmHold) tree.Code {
	things := own.set
	if things == nil {
		things = []string{own.thing}
	}
	if !slices.Equal(things, p.things) {
		return tree.ErrModeMismatch
	}
	var mine []*hmHold
	for _, h := range x.holds {
		if h.session == p.session && h.owner == p.owner && slices.Contains(things, h.thing) && h.granted == own.granted {
			mine = append(mine, h)
		}
	}
	if len(mine) < len(things) {
		return tree.ErrHoldLost
	}
	for _, h := range mine {
		if h.shared != p.shared || h.permits != p.permits {
			return tree.ErrModeMismatch
		}
	}
	for _, h := range mine {
		h.attach++
		h.again = true
	}
	x.res.Token, x.res.Replayed = own.shown(), true
	if own.place != 0 {
		x.res.Place, x.res.Attach = own.place, own.attach
	}
	return tree.OK
}

func (x *hmTxn) load(id quorum.Zxid) (n int) {
	for _, h := range x.holds {
		if h.session == id {
			n++
		}
	}
	for _, p := range x.places {
		if p.session == id {
			n++
		}
	}
	return n
}

func (x *hmTxn) askFirst(op *commandpb.Acquire, p *hmPlace) tree.Code {
	barred := x.barred(p)
	if code := x.spent(p); code != tree.OK {
		x.refuse(p, barred)
		return code
	}
	waits := barred != "" && (op.Wait || op.StayMs > 0)
	if barred != "" && !waits {
		x.refuse(p, barred)
		return x.inTheWay(barred)
	}
	if x.load(p.session)+len(p.things) > x.set.SessionHolds {
		return tree.ErrTooManyWaiters
	}
	if waits {
		for _, thing := range p.things {
			n := 0
			for _, q := range x.places {
				if slices.Contains(q.things, thing) {
					n++
				}
			}
			if n >= x.set.Waiting {
				return tree.ErrTooManyWaiters
			}
		}
	}
	if op.Limit > 0 {
		x.limits[p.things[0]] = op.Limit
	}
	if !waits {
		x.res.Token = x.grant(p, 0)
		return tree.OK
	}
	x.res.Place, x.res.Attach, x.res.Position = p.id, 1, x.position(barred, p.id)
	x.places = append(x.places, p)
	return tree.OK
}

func (x *hmTxn) refuse(p *hmPlace, barred string) {
	if barred == "" {
		barred = p.things[0]
	}
	x.res.Position = x.position(barred, p.id)
}

func (x *hmTxn) askAgain(op *commandpb.Acquire, p, old *hmPlace) (code tree.Code, kept bool) {
	x.tell(old, tree.ErrSuperseded, 0)
	old.attach, old.asking, old.home, old.until = old.attach+1, true, p.home, 0
	old.stay, old.delay, old.value, old.most = p.stay, p.delay, p.value, p.most
	x.res.Attach, x.res.Place = old.attach, old.id
	barred := x.barred(old)
	if code = x.spent(old); code == tree.OK && barred == "" {
		x.drop(old)
		x.res = hmResult{Token: x.grant(old, old.id), Place: old.id, Attach: old.attach, Outcomes: x.res.Outcomes}
		return tree.OK, false
	}
	if barred == "" {
		barred = old.things[0]
	}
	x.res.Position = x.position(barred, old.id)
	if code == tree.OK && (op.Wait || old.stay > 0) {
		return tree.OK, false
	}
	if code == tree.OK {
		code = x.inTheWay(barred)
	}
	x.drop(old)
	return code, true
}

func (x *hmTxn) leave(op *commandpb.Leave) (code tree.Code, kept bool) {
	for _, p := range x.places {
		if p.id != quorum.Zxid(op.Place) {
			continue
		}
		if p.attach != op.Attach || !p.asking {
			return tree.ErrSuperseded, false
		}
		barred := x.barred(p)
		if barred == "" { // what it waited for is over, and nobody has looked yet
			barred = p.things[0]
		}
		x.res.Place, x.res.Attach, x.res.Position = p.id, p.attach, x.position(barred, p.id)
		code = x.inTheWay(barred)
		if p.stay == 0 {
			x.drop(p)
		} else {
			p.asking, p.until = false, x.age+p.stay
		}
		return code, true
	}
	var list []*hmHold
	for _, h := range x.holds {
		if h.place == quorum.Zxid(op.Place) {
			list = append(list, h)
		}
	}
	switch {
	case len(list) == 0:
		return tree.ErrHoldLost, false
	case list[0].attach != op.Attach:
		return tree.ErrSuperseded, false
	case op.Gone:
		for _, h := range list {
			x.endHold(h, howReleased)
		}
		return tree.OK, false
	}
	x.res.Token = list[0].shown()
	return tree.OK, false
}

func (x *hmTxn) release(token string, op *commandpb.Release) (code tree.Code, kept bool) {
	s := x.byToken(token)
	if op.Set {
		return x.releaseAll(s, token), false
	}
	thing := thingOf(op.Kind, op.Names[0])
	if op.Run != nil {
		thing += "/" + op.Run.Key
	}
	done := false
	if s != nil {
		for _, h := range slices.Clone(x.holds) {
			if h.session == s.id && h.thing == thing && (op.Token == 0 || quorum.Zxid(op.Token) == h.token || quorum.Zxid(op.Token) == h.shown()) {
				x.endHold(h, howReleased)
				done = true
			}
		}
		for _, p := range slices.Clone(x.places) {
			if p.session == s.id && op.Token == 0 && slices.Contains(p.things, thing) {
				x.releasePlace(p)
				done = true
			}
		}
	}
	if done {
		return tree.OK, false
	}
	last := hmOver{hold: 0}
	for _, o := range x.overs {
		if o.thing == thing && o.token == token && (op.Token == 0 && o.hold > last.hold || o.hold == quorum.Zxid(op.Token)) {
			last = o
		}
	}
	switch {
	case last.hold == 0 && s == nil:
		return tree.ErrSessionExpired, true
	case last.hold == 0 || !last.how.own():
		return tree.ErrHoldLost, true
	}
	return tree.OK, false
}

func (x *hmTxn) releasePlace(p *hmPlace) {
	for _, thing := range p.things {
		x.over(thing, p.session, p.id, howReleased)
	}
	x.endPlace(p, x.inTheWay(p.things[0]))
}

func (x *hmTxn) releaseAll(s *hmSession, token string) tree.Code {
	if s == nil {
		if slices.ContainsFunc(x.overs, func(o hmOver) bool { return o.thing == "" && o.token == token }) {
			return tree.OK
		}
		return tree.ErrSessionExpired
	}
	for _, h := range slices.Clone(x.holds) {
		if h.session == s.id && kindOf(h.thing) == "1" {
			x.endHold(h, howReleased)
		}
	}
	for _, p := range slices.Clone(x.places) {
		if p.session == s.id && kindOf(p.things[0]) == "1" {
			x.releasePlace(p)
		}
	}
	x.over("", s.id, x.z, howReleased)
	return tree.OK
}

func (x *hmTxn) breakUpTo(thing string, last quorum.Zxid) {
	for _, h := range slices.Clone(x.holds) {
		if h.thing == thing && h.granted <= last {
			x.endHold(h, howBroken)
		}
	}
}

func (x *hmTxn) revoke(op *commandpb.Revoke) {
	thing := thingOf(kindLock, op.Name)
	if len(x.holdsOfThing(thing)) == 0 {
		return
	}
	x.revoked[thing] = &hmRevoked{at: x.z}
	if op.BreakAfterMs != nil {
		x.revoked[thing].breakAt = x.age + *op.BreakAfterMs
	}
}

func (x *hmTxn) withdraw(op *commandpb.Withdraw) {
	for _, home := range op.Homes {
		for _, p := range slices.Clone(x.places) {
			if p.asking && p.home == home.Instance {
				x.endPlace(p, tree.ErrHoldLost)
			}
		}
	}
	for _, id := range op.Places {
		for _, h := range slices.Clone(x.holds) {
			if h.place == quorum.Zxid(id) && !h.again {
				x.endHold(h, howLost)
			}
		}
	}
}

func (x *hmTxn) lapse() {
	for _, p := range slices.Clone(x.places) {
		if !p.asking && p.until <= x.age {
			x.drop(p)
		}
	}
	for thing, r := range x.revoked {
		if r.breakAt > 0 && r.breakAt <= x.age {
			x.breakUpTo(thing, r.at)
		}
	}
}

func (x *hmTxn) complete(token string, op *commandpb.Complete) (code tree.Code, kept bool) {
	s := x.byToken(token)
	if s != nil {
		for _, h := range slices.SortedFunc(slices.Values(x.holds), func(a, b *hmHold) int { return strings.Compare(a.thing, b.thing) }) {
			if h.session == s.id && kindOf(h.thing) == "4" {
				state := "done"
				if op.Failed {
					state = "idle"
				}
				x.stop(x.runs[h.thing], state)
				x.endHold(h, howCompleted)
				return tree.OK, false
			}
		}
	}
	return x.completed(token, s), false
}

func (x *hmTxn) completed(token string, s *hmSession) tree.Code {
	var begun quorum.Zxid
	how := howBroken
	for thing, r := range x.runs {
		for _, o := range x.overs {
			if o.thing == thing && o.token == token && o.hold == r.begun && r.begun > begun {
				begun, how = r.begun, o.how
			}
		}
	}
	switch {
	case how == howCompleted:
		x.res.Replayed = true
		return tree.OK
	case s == nil:
		return tree.ErrSessionExpired
	}
	return tree.ErrHoldLost
}
