package handlers

// The JSON bodies of the operations. A test compares them with openapi.yaml.

// fields are those of an object.
type fields map[string]*jsonShape

func object(f fields) *jsonShape { return &jsonShape{kind: jsonObject, fields: f} }

func list(items *jsonShape) *jsonShape { return &jsonShape{kind: jsonArray, items: items} }

// needed is a body that the operation cannot do without.
func needed(f fields) *jsonShape { return &jsonShape{kind: jsonObject, fields: f, needed: true} }

// with says which fields a body cannot do without.
func (s *jsonShape) with(must ...string) *jsonShape { s.must = must; return s }

var (
	anInteger = &jsonShape{kind: jsonInteger}
	aString   = &jsonShape{kind: jsonString}
	aBoolean  = &jsonShape{kind: jsonBoolean}
	someBytes = &jsonShape{kind: jsonBytes}
	aTime     = &jsonShape{kind: jsonTime}
	anInt32   = &jsonShape{kind: jsonInt32}
)

var (
	ttlBody      = object(fields{"ttl_ms": anInteger})
	transferBody = object(fields{"to": aString})

	membersBody = needed(fields{"force": aBoolean, "members": list(object(fields{
		"id": aString, "address": aString, "role": aString, "replace": aBoolean,
	}))})

	aclEntries = list(object(fields{"scheme": aString, "id": aString, "perms": aString}))
	aclBody    = needed(fields{"entries": aclEntries, "aversion": anInteger})
	quotaBody  = needed(fields{"max_nodes": anInteger, "max_bytes": anInteger})

	multiBody = needed(fields{"ops": list(object(fields{
		"op": aString, "path": aString, "data": someBytes, "text": aString, "version": anInteger, "etag": aString,
		"mode": aString, "sequential": aBoolean, "parents": aBoolean, "recursive": aBoolean, "ttl_ms": anInteger,
		"acl": aclEntries, "lock": aString, "fencing_token": anInteger, "counter": aString, "add": anInteger,
		"queue": aString, "receipt": aString,
	}))})

	tokenBody = needed(fields{
		"principal": aString, "expires_at": aTime, "label": aString, "secret_sha256": aString,
	})
	principalBody = needed(fields{
		"name": aString, "root": aString, "disabled": aBoolean,
		"grants": list(object(fields{"prefix": aString, "perms": list(aString)})),
	})
)

// Of what is held, counted and queued.
var (
	acquireBody = object(fields{"ttl_ms": anInteger, "wait_ms": anInt32, "stay_ms": anInt32, "owner": aString,
		"mode": aString, "lock_delay_ms": anInt32})
	semaphoreBody = needed(fields{"ttl_ms": anInteger, "wait_ms": anInt32, "stay_ms": anInt32, "owner": aString,
		"limit": anInt32, "permits": anInt32}).with("limit")
	campaignBody = object(fields{"ttl_ms": anInteger, "wait_ms": anInt32, "stay_ms": anInt32, "owner": aString,
		"value": aString})
	lockSetBody = needed(fields{"ttl_ms": anInteger, "wait_ms": anInt32, "stay_ms": anInt32, "owner": aString,
		"locks": list(object(fields{"name": aString, "mode": aString}).with("name"))}).with("locks")
	onceBody = needed(fields{"ttl_ms": anInteger, "wait_ms": anInt32, "owner": aString, "key": aString,
		"period_ms": anInteger, "offset_ms": anInteger, "max_attempts": anInt32, "keep_ms": anInteger}).with("ttl_ms")
	namesBody    = object(fields{"names": list(aString)})
	holderBody   = object(fields{"fencing_token": anInteger, "ttl_ms": anInteger})
	releaseBody  = object(fields{"fencing_token": anInteger})
	abandonBody  = object(fields{"fencing_token": anInteger, "key": aString})
	revokeBody   = object(fields{"reason": aString, "break_after_ms": anInteger})
	proclaimBody = needed(fields{"fencing_token": anInteger, "value": aString}).with("value")

	enterBody = needed(fields{"count": anInt32, "wait_ms": anInt32, "ttl_ms": anInteger, "generation": anInteger,
		"owner": aString}).with("count")
	leaveBody = object(fields{"generation": anInteger, "wait_ms": anInt32})

	addBody = needed(fields{"add": anInteger, "expect": anInteger}).with("add")
	setBody = needed(fields{"value": anInteger, "expect": anInteger}).with("value")

	receipts    = list(aString)
	queueBody   = &jsonShape{kind: jsonObject, fields: fields{"max_attempts": anInt32, "dead_letter": aString}, needed: true, wholly: true}
	claimBody   = object(fields{"count": anInt32, "ttl_ms": anInteger, "wait_ms": anInt32})
	ackBody     = needed(fields{"receipts": receipts}).with("receipts")
	nackBody    = needed(fields{"receipts": receipts, "delay_ms": anInteger}).with("receipts")
	extendBody  = needed(fields{"receipts": receipts, "ttl_ms": anInteger}).with("receipts", "ttl_ms")
	redriveBody = needed(fields{"to": aString, "limit": anInt32}).with("to")
)
