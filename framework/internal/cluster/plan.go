package cluster

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"wsframe/library/cache"
)

// plan is what one write to Redis does, in the order in which it must happen: a process that is
// killed in between leaves nothing behind by which nobody finds it. One Redis server executes a
// pipeline in its order. The masters of a Redis Cluster get their shares side by side, so there
// each part goes when the one before has been taken. So it does beside a Redis without memory,
// which may take a later command and not the one that it needs.
type plan struct {
	c *client

	list   redis.Pipeliner // the node's list of its connections, and of its users what a departure needs
	note   redis.Pipeliner // what a connection says of itself: where it is, who hears of its end
	places redis.Pipeliner // the sets and the user that lead to it
	forget redis.Pipeliner // what it said
	unlist redis.Pipeliner // it, from the list
}

// errPartial says that the first part of a plan may have been executed: Redis has heard of the
// connections.
var errPartial = errors.New("a part was written")

// write runs a plan; apart = each part goes when the one before has been taken, whatever Redis it
// is. After an error any part of it may have been executed.
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

// releaseUID removes users' entries only while they still point to these connections: a second
// device may have come since.
const releaseUID = `
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i+1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 0`

// entry asserts a live connection.
func (p *plan) entry(ctx context.Context, e *Entry, fresh bool) {
	p.entries(ctx, []*Entry{e}, fresh)
}

// entries asserts live connections: the node's list first, by which they are found, then their
// bookkeeping and their places in the sets they are in.
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
			p.places.HSetNX(ctx, k.uids(), e.UID, fd) // a newer connection of the user's may have it
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

// remove takes connections out of their sets, then removes their bookkeeping, the node's list last.
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

// present writes a live connection's user where Redis has forgotten him. Nobody is told of it.
func (p *plan) present(ctx context.Context, list []Present) {
	for i := range list {
		p.places.HSetNX(ctx, p.c.keys.present(list[i].Room), list[i].ID, list[i].asserted())
	}
}
