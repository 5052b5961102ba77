package bus

import "github.com/redis/go-redis/v9"

// The scripts run on Redis 6.2 and later, and on the embedded store. Numbers stay below 2^53. The
// scripts format them themselves, since Lua writes large ones with an exponent.

// enter is the first part of each script. Its function enter(record, i, now) returns a shard's
// epoch and count of kept messages, or nil where the shard is in doubt: see shardEpoch.
//
//	ARGV[i]    the caller's token
//	ARGV[i+1]  the shard's epoch as the caller knows it
//	ARGV[i+2]  the count as the caller knows it
//	ARGV[i+3]  an unused epoch
//	ARGV[i+4]  for how many ms to wait for other nodes; 0 = the store is this server's own
//
// The record is a hash:
//
//	epoch, n      the shard's epoch and count
//	run           the run id of the server that is trusted
//	doubt, since  the run id of a server that is not trusted yet, and since when
//	r:TOKEN       when that node has last read
//	v:TOKEN       the run in which that node has found what it knows
//
// A node that stopped to read 15 s before the last one did has seen no more than the others, and is
// not waited for.
//
// place(epoch, shard, now) returns a room's epoch for clients. A room in which nothing was kept has
// a temporary one, with the time in it.
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

// look registers a node as a reader of the shard, or removes it.
//
//	KEYS  the shard's record
//	ARGV  the arguments of enter, then "leave", "ask" or "", then the number of sub-streams
//
// The reply to "ask" is the number of sub-streams of the nodes that read the shard, or nothing
// where there are none. It changes nothing.
var look = redis.NewScript(enter + `
local now = clock()
if ARGV[6] == 'leave' then
  redis.call('HDEL', KEYS[1], 'r:' .. ARGV[1], 'v:' .. ARGV[1])
  return {'OK', '', '0'}
end
if ARGV[6] == 'ask' then
  local all, lanes, others = redis.call('HGETALL', KEYS[1]), '0', false
  for i = 1, #all, 2 do
    if all[i] == 'lanes' then lanes = all[i + 1] end
    if string.sub(all[i], 1, 2) == 'r:' and tonumber(all[i + 1]) > now - 15000 then others = true end
  end
  if others then return {lanes} end
  return {}
end
local epoch, n = enter(KEYS[1], 1, now)
if not epoch then return {'DOUBT'} end
redis.call('HSET', KEYS[1], 'lanes', ARGV[7])
if redis.call('HSET', KEYS[1], 'r:' .. ARGV[1], int(now)) == 1 then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'r:' and tonumber(all[i + 1]) < now - 3600000 then redis.call('HDEL', KEYS[1], all[i]) end
  end
end
return {'OK', epoch, int(n)}
`)

// write appends the messages of one sender, in order.
//
//	KEYS[1]  the sender's record
//	KEYS[2]  the stream
//	KEYS[3]  the stream's ledger
//	KEYS[4]  the shard's record
//	KEYS[5]  the sub-streams that are used, if there are any
//	         then for each message with a place: the room's history, the room's offset
//	ARGV[1]  the highest number that Redis has, as the sender believes
//	ARGV[2]  the number of the first message
//	ARGV[3]  how many messages there are
//	ARGV[4]  the stream's bound in entries; 0 = the stream is not used, and the replies are recorded
//	ARGV[5]  an unused epoch
//	ARGV[6]  the stream's bound in bytes
//	ARGV[7]  its bound in ms
//	ARGV[8]  the arguments of enter, up to ARGV[12]
//	ARGV[13] how many streams there are from KEYS[5] on
//	         then for each message: the history's length (0 = it is not kept, -1 = it asks for its
//	         place), the place in KEYS of the sub-stream that gets a copy (0 = none), head, key, body, and with a place: the age in ms, the
//	         offset that the message was given when it was sent before, or 0
//
// The reply is BACK and the record's number where that is lower than believed, or DOUBT where the
// shard is in doubt. Nothing was changed then. Otherwise it is OK, the shard's epoch and count, the
// id up to which the sub-streams are to be cut, or nothing, and a text for each message:
//
//	OFFSET EPOCH MS COUNT  of a message with a place
//	(empty)                of another one
//	E and an error         of one that Redis refuses
//	?                      of one that came before, of which nothing more is known
//
// The record is written first. So a Redis that accepts no writes ends the script before anything is
// changed.
//
// The stream is cut at its oldest end, by entries, bytes and age. Looking at the entries for that
// would cost as much as reading them. So the ledger, a hash, divides the stream into parts, which
// are cut as a whole:
//
//	clock, at       for how many ms the stream was in use, and when that was noted
//	bytes, entries  of all parts
//	first, open     the numbers of the oldest part and of the one that grows
//	b, n, since     the growing part's bytes and entries, and the clock at its begin
//	ms, seq         the last id of all streams
//	(a number)      of that part: bytes, entries, the clock at its end, its last entry
//
// Time in which nobody wrote hardly counts: perhaps nobody has read the last entries before an
// outage.
//
// The ids of all streams of a shard come from one sequence, whose last one is in the ledger as ms
// and seq. So one id is a position in all of them. Where the ledger is older than a stream, Redis
// refuses the id, and the sequence continues from that stream.
var write = redis.NewScript(enter + `
local known, first, count, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('HMGET', KEYS[1], 'n', 'f', 'a')
local sent = tonumber(record[1] or '0')
if sent < known then return {'BACK', int(sent)} end
if count == 0 then return {'OK', '', '0', ''} end
local now = clock()
local streams = tonumber(ARGV[13])
local placed, made = #KEYS > 4 + streams, 0
local shard, n = '', 0
if placed then
  shard, n = enter(KEYS[4], 8, now)
  if not shard then return {'DOUBT'} end
end
local last = first + count - 1
if last > sent then
  redis.call('HSET', KEYS[1], 'n', int(last))
  redis.call('EXPIRE', KEYS[1], 3600)
end
local before, from = {}, tonumber(record[2] or '0')
if cap == 0 and record[3] then
  for text in string.gmatch(record[3], '([^\n]*)\n') do before[#before + 1] = text end
end
local l = {}
if cap > 0 then
  l = redis.call('HMGET', KEYS[3], 'clock', 'at', 'bytes', 'entries', 'first', 'open', 'b', 'n', 'since', 'ms', 'seq')
  for i = 1, 11 do l[i] = tonumber(l[i] or '0') end
end
local ms, seq = l[10], l[11]
local function put(stream, head, key, body)
  while true do
    local r = redis.pcall('XADD', stream, int(ms) .. '-' .. int(seq), 'h', head, 'k', key, 'b', body)
    if type(r) ~= 'table' or not r.err or not string.find(r.err, 'equal or smaller', 1, true) then return r end
    local info = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        local m, s = string.match(info[i + 1], '^(%d+)-(%d+)$')
        ms, seq = tonumber(m), tonumber(s) + 1
      end
    end
  end
end
local answers, a, k = {'OK', shard, '0', ''}, 14, 5 + streams
local bytes, added, newest = 0, 0, nil
for number = first, last do
  local keep = tonumber(ARGV[a])
  local lane, head, key, body, answer = tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ''
  if number <= sent then
    answer = before[number - from + 1] or '?'
  else
    if keep ~= 0 then
      local age, given = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
      local history, counter = KEYS[k], KEYS[k + 1]
      local was = redis.pcall('HMGET', counter, 'epoch', 'offset')
      if was.err then
        answer = 'E' .. was.err
      elseif keep < 0 then
        answer = int(tonumber(was[2] or '0')) .. ' ' .. place(was[1], shard, now) .. ' ' .. int(now) .. ' ' .. int(n + made)
        head = head .. ' ' .. answer
      else
        local epoch, offset = was[1], tonumber(was[2] or '0')
        if not epoch then
          epoch, offset = ARGV[5], 0
          redis.call('DEL', history)
        elseif given > 0 and given ~= offset + 1 then
          epoch = ARGV[5]
        end
        offset = offset + 1
        local r = redis.pcall('XADD', history, 'MAXLEN', '=', int(keep), int(offset) .. '-1', 't', int(now), 'a', int(age), 'b', body)
        if type(r) == 'table' and r.err then
          answer = 'E' .. r.err
        else
          redis.call('HSET', counter, 'epoch', epoch, 'offset', int(offset))
          redis.call('EXPIRE', counter, 2678400)
          redis.call('PEXPIRE', history, int(age))
          local old = redis.call('XRANGE', history, '-', '+', 'COUNT', 2)
          for i = 1, #old do
            if tonumber(old[i][2][2]) + tonumber(old[i][2][4]) <= now then redis.call('XDEL', history, old[i][1]) end
          end
          made = made + 1
          answer = int(offset) .. ' ' .. place(epoch, shard, now) .. ' ' .. int(now) .. ' ' .. int(n + made)
          head = head .. ' ' .. answer
        end
      end
    end
    if cap > 0 and string.sub(answer, 1, 1) ~= 'E' then
      if now > ms then ms, seq = now, 0 else seq = seq + 1 end
      local r = put(KEYS[2], head, key, body)
      if type(r) == 'table' and r.err then
        answer = 'E' .. r.err
      else
        if lane > 0 then put(KEYS[lane], head, key, body) end
        newest, added, bytes = r, added + 1, bytes + #head + #key + #body + 100
      end
    end
  end
  if keep ~= 0 then a, k = a + 7, k + 2 else a = a + 5 end
  answers[#answers + 1] = answer
end
answers[3] = int(n + made)
if made > 0 then redis.call('HSET', KEYS[4], 'n', answers[3]) end
if cap == 0 and last > sent then
  redis.call('HSET', KEYS[1], 'f', int(first), 'a', table.concat(answers, '\n', 5) .. '\n')
end
if added > 0 then
  local ledger, maxbytes, maxage = KEYS[3], tonumber(ARGV[6]), tonumber(ARGV[7])
  local clock = l[1] + math.max(0, math.min(now - l[2], 15000))
  local total, entries, oldest, open, b, n, since = l[3] + bytes, l[4] + added, l[5], l[6], l[7] + bytes, l[8] + added, l[9]
  if n == added then since = clock end
  if b * 64 >= maxbytes or n * 64 >= cap or (clock - since) * 16 >= maxage then
    redis.call('HSET', ledger, int(open), int(b) .. ' ' .. int(n) .. ' ' .. int(clock) .. ' ' .. newest)
    open, b, n = open + 1, 0, 0
  end
  local cut
  while oldest < open do
    local pb, pn, ended, pms, pseq = string.match(redis.call('HGET', ledger, int(oldest)), '^(%d+) (%d+) (%d+) (%d+)-(%d+)$')
    if total <= maxbytes and entries <= cap and clock - tonumber(ended) < maxage then break end
    redis.call('HDEL', ledger, int(oldest))
    total, entries, oldest, cut = total - tonumber(pb), entries - tonumber(pn), oldest + 1, pms .. '-' .. int(tonumber(pseq) + 1)
    answers[4] = pms .. '-' .. pseq
  end
  if cut then redis.call('XTRIM', KEYS[2], 'MINID', '=', cut) end
  redis.call('HSET', ledger, 'clock', int(clock), 'at', int(now), 'bytes', int(total), 'entries', int(entries),
    'first', int(oldest), 'open', int(open), 'b', int(b), 'n', int(n), 'since', int(since), 'ms', int(ms), 'seq', int(seq))
end
return answers
`)

// read returns a page of a room's history.
//
//	KEYS[1]  the room's history
//	KEYS[2]  the room's offset
//	KEYS[3]  the shard's record
//	ARGV[1]  the offset after which to begin
//	ARGV[2]  how many entries to return
//	ARGV[3]  the arguments of enter, up to ARGV[7]
//
// The reply is DOUBT, or the shard's epoch and count, the room's epoch, its newest offset, its
// oldest living offset, the last offset that was looked at, then offset, ms and body of each entry.
// The clock that dated an entry also decides whether it is too old. Entries are in the order of
// time, so the oldest living one is found by bisection.
var read = redis.NewScript(enter + `
local now = clock()
local shard, n = enter(KEYS[3], 3, now)
if not shard then return {'DOUBT'} end
local counter = redis.call('HMGET', KEYS[2], 'epoch', 'offset')
local epoch = place(counter[1], shard, now)
if not counter[1] then return {shard, int(n), epoch, '0', '0', ARGV[1]} end
local newest = tonumber(counter[2])
local function number(e) return tonumber(string.match(e[1], '^%d+')) end
local function dead(e) return tonumber(e[2][2]) + tonumber(e[2][4]) <= now end
local function from(n) return redis.call('XRANGE', KEYS[1], int(n) .. '-0', '+', 'COUNT', 1)[1] end
local first, e = 0, from(0)
if e then
  first = number(e)
  if dead(e) then
    local low, high = first, newest + 1
    while low + 1 < high do
      local middle = math.floor((low + high) / 2)
      e = from(middle)
      if e and dead(e) then low = middle else high = middle end
    end
    e = from(high)
    first = e and number(e) or 0
  end
end
local page = {shard, int(n), epoch, int(newest), int(first), ARGV[1]}
if first == 0 then return page end
local list = redis.call('XRANGE', KEYS[1], int(math.max(tonumber(ARGV[1]) + 1, first)) .. '-0', '+', 'COUNT', tonumber(ARGV[2]))
for i = 1, #list do
  page[6] = int(number(list[i]))
  if not dead(list[i]) then
    page[#page + 1] = page[6]
    page[#page + 1] = list[i][2][2]
    page[#page + 1] = list[i][2][6]
  end
end
return page
`)
