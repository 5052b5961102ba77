package cluster

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"wsframe/library/cache"
)

// plan is one write to Redis, in parts whose order keeps every connection findable, even if the
// process is killed between two commands.
//
// One Redis server executes a pipeline in order. The masters of a Redis Cluster execute their
// shares of it at the same time, so there each part waits for the one before. It also does so with
// a Redis without memory, which may refuse a command and execute a later one.
type plan struct {
	c *client

	list   redis.Pipeliner // adds to the node's list of connections, and users to rooms' hashes
	note   redis.Pipeliner // adds a connection's own keys: its identity, close keys and listeners
	places redis.Pipeliner // changes the sets and the user entry that name the connection
	forget redis.Pipeliner // removes a connection's own keys
	unlist redis.Pipeliner // removes from the node's list
}

// errPartial is returned when the first part of a plan may have been executed, so that Redis may
// know the connections.
var errPartial = errors.New("a part was written")

// write runs a plan. With apart, each part waits for the one before, whatever Redis it is. After an
// error any part may have been executed.
func (c *client) write(ctx context.Context, apart bool, fill func(context.Context, *plan)) error {
	if !c.slots && !apart {
		err := c.exec(ctx, func(ctx context.Context, p redis.Pipeliner) { fill(ctx, &plan{c, p, p, p, p, p}) })
		if cache.Full(err) {
			err = errors.Join(errPartial, err)
		}
		return err
	}
	var parts [5]redis.Pipeliner
	for i := range parts {
		parts[i] = c.redis.Pipeline()
	}
	fill(ctx, &plan{c, parts[0], parts[1], parts[2], parts[3], parts[4]})
	for i, p := range parts {
		if p.Len() == 0 {
			continue
		}
		if err := c.run(ctx, p); err != nil {
			if i > 0 {
				err = errors.Join(errPartial, err)
			}
			return err
		}
	}
	return nil
}

// releaseUID removes users' entries only while they name these connections, since a second device
// may have come.
const releaseUID = `
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i+1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0`

// entry writes a live connection. With fresh it overwrites its user's entry.
func (p *plan) entry(ctx context.Context, e *Entry, fresh bool) {
	p.entries(ctx, []*Entry{e}, fresh)
}

// entries writes live connections: first the node's list, by which they are found, then their own
// keys, then the sets that they are in.
func (p *plan) entries(ctx context.Context, list []*Entry, fresh bool) {
	if len(list) == 0 {
		return
	}
	k := p.c.keys
	fds, infos := make([]any, 0, len(list)), make([]any, 0, 2*len(list))
	var uids []any
	for _, e := range list {
		fd := str(e.FD)
		fds, infos = append(fds, fd), append(infos, fd, e.Auth)
		if e.UID != "" && fresh {
			uids = append(uids, e.UID, fd)
		}
	}
	p.list.SAdd(ctx, k.fds(p.c.self()), fds...)
	p.note.HSet(ctx, k.info(), infos...)
	if len(uids) > 0 {
		p.places.HSet(ctx, k.uids(), uids...)
	}
	for _, e := range list {
		fd := str(e.FD)
		if e.UID != "" && !fresh {
			p.places.HSetNX(ctx, k.uids(), e.UID, fd) // a newer connection of the user may have it
		}
		if len(e.Listeners) > 0 {
			p.note.SAdd(ctx, k.listeners(fd), e.Listeners)
		}
		if len(e.Keys) > 0 {
			p.note.SAdd(ctx, k.closing(fd), e.Keys)
		}
		for _, key := range e.Keys {
			p.places.SAdd(ctx, k.prefix+key, fd)
		}
		p.present(ctx, e.Present)
	}
}

// remove removes connections from their sets, then their own keys, and last from the node's list.
func (p *plan) remove(ctx context.Context, list ...*Entry) {
	if len(list) == 0 {
		return
	}
	p.traces(ctx, list...)
	fds := make([]any, len(list))
	for i, e := range list {
		fds[i] = str(e.FD)
	}
	p.unlist.SRem(ctx, p.c.keys.fds(p.c.self()), fds...)
}

func (p *plan) traces(ctx context.Context, list ...*Entry) {
	k := p.c.keys
	var uids []any
	fds := make([]string, len(list))
	own := make([]string, 0, 2*len(list))
	for i, e := range list {
		fd := str(e.FD)
		for _, key := range e.Keys {
			p.places.SRem(ctx, k.prefix+key, fd)
		}
		if e.UID != "" {
			uids = append(uids, e.UID, fd)
		}
		fds[i] = fd
		own = append(own, k.closing(fd), k.listeners(fd))
	}
	if p.c.slots { // no command of a Redis Cluster may touch two slots
		for _, key := range own {
			p.forget.Del(ctx, key)
		}
	} else {
		p.forget.Del(ctx, own...)
	}
	if len(uids) > 0 {
		p.places.Eval(ctx, releaseUID, []string{k.uids()}, uids...)
	}
	p.forget.HDel(ctx, k.info(), fds...)
}

// present writes the user of a live connection where Redis has lost him, without an announcement.
func (p *plan) present(ctx context.Context, list []Present) {
	for i := range list {
		p.places.HSetNX(ctx, p.c.keys.present(list[i].Room), list[i].ID, list[i].asserted())
	}
}
