package gateway

// toSend reads the message of a command; ok is false if it is to be ignored.
func (c *Commands) toSend(f Frame) (m Message, ok bool) {
	m, reason := message(f)
	if reason != "" {
		c.refuse(reason)
	}
	return m, reason == ""
}

// asked reads the JSON of a command; ok is false if it is to be ignored.
func (c *Commands) asked(f Frame) (doc []byte, ok bool) {
	if !document(f.Ext) || !isArray(f.Ext) {
		c.refuse("json")
		return nil, false
	}
	return f.Ext, true
}

func (c *Commands) sendToOne(f Frame) {
	if m, ok := c.toSend(f); ok {
		c.Backend.SendTo([]uint32{f.Connection}, m)
	}
}

func (c *Commands) sendToAll(f Frame) {
	m, ok := c.toSend(f)
	if !ok {
		return
	}
	if len(f.Ext) == 0 {
		c.Backend.SendToAll(nil, m)
		return
	}
	doc, ok := c.asked(f)
	if !ok {
		return
	}
	if only := member(doc, "connections"); !isNull(only) {
		if !isArray(only) {
			c.refuse("json")
			return
		}
		c.Backend.SendTo(connections(only), m)
		return
	}
	if exclude, ok := c.excluded(doc); ok {
		c.Backend.SendToAll(exclude, m)
	}
}

// excluded reads the connections that do not get a message.
func (c *Commands) excluded(doc []byte) (ids []uint32, ok bool) {
	exclude := member(doc, "exclude")
	if !isNull(exclude) && !isArray(exclude) {
		c.refuse("json")
		return nil, false
	}
	return connections(exclude), true
}

func (c *Commands) sendToUID(f Frame) {
	m, ok := c.toSend(f)
	if !ok {
		return
	}
	if doc, ok := c.asked(f); ok {
		for uid := range names(doc) {
			c.Backend.SendToUID(uid, m)
		}
	}
}

func (c *Commands) sendToGroup(f Frame) {
	m, ok := c.toSend(f)
	if !ok {
		return
	}
	doc, ok := c.asked(f)
	if !ok {
		return
	}
	exclude, ok := c.excluded(doc)
	if !ok {
		return
	}
	for group := range names(member(doc, "group")) {
		c.Backend.SendToGroup(group, exclude, m)
	}
}

// kick closes a client, with a last message unless the body is PHP's null.
func (c *Commands) kick(f Frame) {
	if f.Flag&(FlagBytes|flagFrame) == 0 && string(f.Body) == "N;" {
		c.Backend.Kick(f.Connection, nil)
		return
	}
	m, ok := c.toSend(f)
	if !ok {
		c.Backend.Kick(f.Connection, nil)
		return
	}
	c.Backend.Kick(f.Connection, &m)
}
