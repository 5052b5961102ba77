package gateway

import "wsframe/library/phpserialize"

// columns are the fields that SELECT knows.
var columns = map[string]Fields{"uid": FieldUID, "groups": FieldGroups, "session": FieldSession}

// selectClients answers {"fields":["uid"],"where":…} with the fields of the clients found.
func (c *Commands) selectClients(f Frame, b []byte) []byte {
	doc, ok := c.asked(f)
	if !ok {
		return nothing(b)
	}
	list := member(doc, "fields")
	if isNull(list) || !isArray(list) {
		c.refuse("json")
		return nothing(b)
	}
	var fields []string
	var want Fields
	for name := range names(list) {
		if known := columns[name]; known != 0 && want&known == 0 {
			fields = append(fields, name)
			want |= known
		}
	}
	var r rows
	for _, id := range c.where(member(doc, "where")) {
		client, ok := c.Backend.Client(id, want)
		if !ok {
			continue
		}
		r.count++
		r.body = phpserialize.AppendInt(r.body, int64(id))
		r.body = phpserialize.AppendArray(r.body, len(fields))
		for _, field := range fields {
			r.body = phpserialize.AppendString(r.body, field)
			r.body = client.append(r.body, field)
		}
		r.body = phpserialize.EndArray(r.body)
	}
	return r.append(b)
}

// where returns the connections that a condition finds, each once. Without a condition all are.
func (c *Commands) where(doc []byte) []uint32 {
	if isNull(doc) {
		return c.Backend.Clients()
	}
	if !isArray(doc) {
		c.refuse("json")
		return nil
	}
	var found []uint32
	seen := map[uint32]bool{}
	add := func(ids []uint32) {
		for _, id := range ids {
			if !seen[id] {
				seen[id] = true
				found = append(found, id)
			}
		}
	}
	conditions := 0
	for key, items := range members(doc) {
		conditions++
		if key == nil {
			continue // a list has no condition
		}
		switch unquote(key) {
		case "groups":
			once(names(items), func(group string) { add(c.Backend.ClientsInGroup(group)) })
		case "uid":
			once(names(items), func(uid string) { add(c.Backend.ClientsOfUID(uid)) })
		case "connection_id":
			add(connections(items)) // those that are not there have no row
		}
	}
	if conditions == 0 {
		return c.Backend.Clients()
	}
	return found
}

// append appends a field of a client.
func (c Client) append(b []byte, field string) []byte {
	switch {
	case columns[field] == FieldSession:
		return phpserialize.AppendString(b, c.Session)
	case columns[field] == FieldUID && c.UID != "":
		return phpserialize.AppendString(b, c.UID)
	case columns[field] == FieldGroups && c.Groups != nil:
		b = phpserialize.AppendArray(b, len(c.Groups))
		for _, group := range c.Groups {
			b = phpserialize.AppendKey(b, group)
			b = phpserialize.AppendString(b, group)
		}
		return phpserialize.EndArray(b)
	}
	return phpserialize.AppendNull(b)
}
