package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// A shard's epoch is a part of the epoch of each of its rooms. Whoever may have lost data takes a new one, and with it all
// positions in these rooms end, for those who read as for those who write.
//
// A Redis that was started again, or promoted, has another run id. It may have everything or not: that depends on how it saves, and on
// the replica. The nodes know: each remembers the shard's count of kept messages, the highest that it was told. The shard is in doubt
// until every node that read it when Redis went away has found its count there: then the epoch stays. It is renewed as soon as one of
// them finds less than it knows, and where one is not heard within Config.Doubt: dead with its Redis, or still at the other side of
// a split. So no position is given twice, and what one node cannot prove no client is told.
//
// The embedded store renews the epochs by itself when it has lost data.

const (
	// lookTime is how often a node is written down as one of those that read a shard.
	lookTime = 5 * time.Second

	// placeTime is how long the position of a room in which nothing was kept is good for: less than a room's offset is remembered.
	placeTime = 30 * 24 * time.Hour
)

// errDoubt is the answer of a Redis that may have lost data, until all nodes have said what they know.
var errDoubt = errors.New("bus: redis has begun anew, and the nodes compare what it knows")

// enter is the begin of the scripts: enter(record, i, now) gives a shard's epoch and count, or nil where it is in doubt.
//
//	ARGV from i on: the caller's token, the shard's epoch and count as it knows them, an epoch that nobody else uses, the patience in
//	ms (0 = the store is this server's own)
//
// The record is a hash: epoch, n = the count; run = of the server that is trusted; doubt, since = of one that is not yet;
// r:TOKEN = when that one has read, v:TOKEN = the run in which it has found what it knows. Who has not read for 15 s before the others
// did last has seen less than they.
//
// place(epoch, shard, now) is a room's epoch as it is told. A room in which nothing was kept has the time in it, as long as it has no own.
const enter = `
local function int(n) return string.format('%.0f', n) end
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function place(epoch, shard, now)
  if epoch then return epoch .. '.' .. shard end
  return '~' .. int(math.floor(now / 1000)) .. '.' .. shard
end
local function settle(record, all, run, epoch)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'v:' then redis.call('HDEL', record, all[i]) end
  end
  redis.call('HDEL', record, 'doubt', 'since')
  redis.call('HSET', record, 'run', run, 'epoch', epoch)
  return epoch
end
local function compare(record, run, token, now, patience)
  redis.call('HSETNX', record, 'doubt', run)
  if redis.call('HGET', record, 'doubt') ~= run then redis.call('HSET', record, 'doubt', run, 'since', int(now)) end
  redis.call('HSETNX', record, 'since', int(now))
  redis.call('HSET', record, 'v:' .. token, run)
  local all = redis.call('HGETALL', record)
  local last, had, since = {}, {}, now
  local newest = 0
  for i = 1, #all, 2 do
    local name = string.sub(all[i], 3)
    local kind = string.sub(all[i], 1, 2)
    if kind == 'r:' then last[name] = tonumber(all[i + 1]); newest = math.max(newest, last[name]) end
    if kind == 'v:' then had[name] = all[i + 1] end
    if all[i] == 'since' then since = tonumber(all[i + 1]) end
  end
  local found, missing = 0, 0
  for name, at in pairs(last) do
    if at >= newest - 15000 then
      if had[name] == run then found = found + 1 else missing = missing + 1 end
    end
  end
  if missing > 0 and now - since < patience then return nil end
  return all, found > 0 and missing == 0
end
local function enter(record, i, now)
  local token, known, seen, fresh, patience = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], tonumber(ARGV[i + 4])
  local was = redis.call('HMGET', record, 'epoch', 'n', 'run')
  local epoch, n, run = was[1], tonumber(was[2] or '0'), was[3] or ''
  if patience > 0 then
    local info = redis.pcall('INFO', 'server')
    run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or run
  end
  local all, lost = {}, not epoch or known == epoch and seen > n
  if not lost and run ~= (was[3] or '') then
    lost = known ~= '' and known ~= epoch
    if not lost then
      local whole
      all, whole = compare(record, run, token, now, patience)
      if not all then return nil end
      lost = not whole
    end
  end
  if lost then
    n = math.max(n, seen) + 1
    redis.call('HSET', record, 'n', int(n))
    epoch = settle(record, all, run, fresh)
  elseif run ~= (was[3] or '') then
    settle(record, all, run, epoch)
  end
  return epoch, n
end
`

// look writes a node down as a reader, or takes it out.
//
//	KEYS  the shard's record
//	ARGV  the arguments of enter, then "leave" or ""
var look = redis.NewScript(enter + `
local now = clock()
if ARGV[6] == 'leave' then
  redis.call('HDEL', KEYS[1], 'r:' .. ARGV[1], 'v:' .. ARGV[1])
  return {'OK', '', '0'}
end
local epoch, n = enter(KEYS[1], 1, now)
if not epoch then return {'DOUBT'} end
if redis.call('HSET', KEYS[1], 'r:' .. ARGV[1], int(now)) == 1 then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'r:' and tonumber(all[i + 1]) < now - 3600000 then redis.call('HDEL', KEYS[1], all[i]) end
  end
end
return {'OK', epoch, int(n)}
`)

// knowledge is what a node was told of a shard.
type knowledge struct {
	epoch string
	count int64
}

// arguments of enter.
func (s *shard) arguments() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := s.b.cfg.Doubt
	if s.b.cfg.Alone {
		wait = 0
	}
	return []any{s.b.Token(), s.knows.epoch, s.knows.count, rand.Text()[:10], wait.Milliseconds()}
}

// told notes what Redis has said of the shard.
func (s *shard) told(epoch, count string) error {
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || epoch == "" {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.knows.epoch == epoch {
		n = max(n, s.knows.count)
	} else if s.knows.epoch != "" {
		s.b.cfg.Log.Warn("redis may have lost kept messages: their rooms have a new epoch", zap.String("shard", s.tag))
	}
	s.knows = knowledge{epoch, n}
	return nil
}

// came notes the count of a message that was received; one that is read again is old.
func (s *shard) came(epoch string, count int64) {
	_, epoch, _ = strings.Cut(epoch, ".")
	s.mu.Lock()
	defer s.mu.Unlock()
	if count > s.knows.count {
		s.knows = knowledge{epoch, count}
	}
}

// enter has this node be one of the shard's readers.
func (s *shard) enter(ctx context.Context) error {
	answer, err := s.look(ctx, "")
	switch {
	case err != nil:
		return err
	case len(answer) == 1:
		return errDoubt
	}
	return s.told(answer[1], answer[2])
}

func (s *shard) look(ctx context.Context, what string) ([]string, error) {
	args := append(s.arguments(), what)
	return call(ctx, s.b.cfg.Timeout, func(ctx context.Context) ([]string, error) {
		return look.Run(ctx, s.b.cfg.Client, []string{s.record()}, args...).StringSlice()
	})
}

// Follows tells whether a position that was given before is one of the page's epoch, and which. Where nothing was kept when it was given,
// it is the room's begin.
func (p *Page) Follows(epoch string, offset int64) (int64, bool) {
	if epoch == p.Epoch || epoch == "" {
		return offset, epoch != ""
	}
	at, shard, ok := strings.Cut(strings.TrimPrefix(epoch, "~"), ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	_, now, _ := strings.Cut(p.Epoch, ".")
	return 0, ok && epoch[0] == '~' && err == nil && offset == 0 && shard == now && p.read.Sub(time.Unix(seconds, 0)) < placeTime
}
