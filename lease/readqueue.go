package lease

import (
	"perch/gen/commandpb"
	"perch/tree"
)

// told is what is told of a queue whose oldest message has an age, in
// milliseconds.
func (q *queue) told(oldest uint64) QueueState {
	out := QueueState{
		Name: tree.Name(q.path), Tag: q.tag, Ready: q.ready, Leased: q.leased, Delayed: q.delayed,
		MaxAttempts: int64(q.attempts), DeadLetter: q.dead, Oldest: millis(int64(oldest)),
	}
	if q.attempts > 0 {
		out.DeadLetter = q.deadName()
	}
	return out
}

// oldestAge is the age of the oldest message of a queue.
func oldestAge(messages func(*message, func(*message) bool), path string, age uint64) (oldest uint64) {
	messages(&message{path: path}, func(m *message) bool {
		if m.path == path {
			oldest = age - min(age, m.since)
		}
		return false
	})
	return oldest
}

// claimed is a message as whoever claimed it is told of it.
func (m *message) claimed(age uint64) Message {
	out := m.told(age)
	out.Receipt, out.Token = receiptOf(m.id, m.claim), m.claim
	return out
}

// told is a message as others see it.
func (m *message) told(age uint64) Message {
	out := Message{
		ID: int64(m.id), Data: m.data, State: m.state.String(), Attempts: int64(m.attempts), Priority: m.priority,
		Enqueued: m.enqueued, DeadFrom: m.deadFrom,
	}
	if m.state == messageLeased {
		out.Remaining = millis(int64(m.due - min(m.due, age)))
	}
	return out
}

// queueRead answers about a queue, and about its messages by rising id.
func (s *sight) queueRead(a *Answer) (more bool, code tree.Code) {
	path, code := s.who.named(commandpb.Kind_KIND_QUEUE, s.q.Name, PermUse|PermRead)
	if code != tree.OK {
		return false, code
	}
	q, ok := s.queues.Get(&queue{path: path})
	if !ok {
		return false, tree.ErrNoQueue
	}
	if s.q.Kind == ReadQueue {
		a.Queue = q.told(oldestAge(s.messages.Ascend, path, s.age))
		return false, tree.OK
	}
	bytes := 0
	s.messages.Ascend(&message{path: path, id: uint64(s.from.ID) + 1}, func(m *message) bool {
		if m.path != path {
			return false
		}
		if bytes += len(m.data); len(a.Messages) >= max(s.q.Limit, 1) || bytes > pageBytes && len(a.Messages) > 0 {
			more = true
			return false
		}
		a.Messages = append(a.Messages, m.told(s.age))
		return true
	})
	return more, tree.OK
}
