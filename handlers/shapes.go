package handlers

// The JSON bodies of the operations. A test compares them with openapi.yaml.

// fields are those of an object.
type fields map[string]*jsonShape

func object(f fields) *jsonShape { return &jsonShape{kind: jsonObject, fields: f} }

func list(items *jsonShape) *jsonShape { return &jsonShape{kind: jsonArray, items: items} }

// needed is a body that the operation cannot do without.
func needed(f fields) *jsonShape { return &jsonShape{kind: jsonObject, fields: f, needed: true} }

var (
	anInteger = &jsonShape{kind: jsonInteger}
	aString   = &jsonShape{kind: jsonString}
	aBoolean  = &jsonShape{kind: jsonBoolean}
	someBytes = &jsonShape{kind: jsonBytes}
	aTime     = &jsonShape{kind: jsonTime}
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
		"acl": aclEntries,
	}))})

	tokenBody = needed(fields{
		"principal": aString, "expires_at": aTime, "label": aString, "secret_sha256": aString,
	})
	principalBody = needed(fields{
		"name": aString, "root": aString, "disabled": aBoolean,
		"grants": list(object(fields{"prefix": aString, "perms": list(aString)})),
	})
)
