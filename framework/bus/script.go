package bus

import "github.com/redis/go-redis/v9"

// Both scripts run on a Redis from 6.2 on and on the embedded store. Numbers stay below 2^53, and are formatted by us: Lua's
// own form of large ones has an exponent.

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

// write takes the messages of one sender, in order.
//
//	KEYS  the sender's record, the bus's stream, the stream's ledger, the shard's record, then for each message with a place its
//	      history and its offset
//	ARGV  what the sender believes that its record says, the number of the first message, how many there are, the stream's cap
//	      (0 = none is written, and the answers are recorded), an epoch that nobody else uses, the stream's bound in bytes and its age in
//	      ms, the arguments of enter; then for each message: history's length (0 = none, -1 = it asks for the room's place), head, key,
//	      body, and for those with a place: age in ms, the offset that it was given when it was sent before, or 0
//
// The answer is BACK and the record's number when that is lower than believed, or DOUBT where the shard is in doubt, and nothing is done
// then; or OK, the shard's epoch and count, and a text for each message: "OFFSET EPOCH MS COUNT" of those with a place, "" of others,
// "E" and an error, or "?" where it came before and nothing more is known.
//
// The record is written first. So where Redis takes no writes, the script ends with its error before anything is done.
//
// The stream is cut at its oldest end, by entries, bytes and age. To look at the entries for that would cost as much as to read
// them, so the ledger knows the stream in parts, which are cut as a whole: clock, at = for how many ms the stream was in use, and when
// that was noted; bytes, entries = of all parts; first, open = the numbers of the oldest part and of the one that grows; b, n,
// since = of that, and the clock at its begin; a part's own number = its bytes, its entries, the clock at its end, its last entry. Time
// in which nobody wrote counts little: what was written last before an outage may have been read by nobody.
var write = redis.NewScript(enter + `
local known, first, count, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local record = redis.call('HMGET', KEYS[1], 'n', 'f', 'a')
local sent = tonumber(record[1] or '0')
if sent < known then return {'BACK', int(sent)} end
if count == 0 then return {'OK', '', '0'} end
local now = clock()
local placed, made = #KEYS > 4, 0
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
local answers, a, k = {'OK', shard, '0'}, 13, 5
local bytes, added, newest = 0, 0, nil
for number = first, last do
  local keep = tonumber(ARGV[a])
  local head, key, body, answer = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ''
  if number <= sent then
    answer = before[number - from + 1] or '?'
  else
    if keep ~= 0 then
      local age, given = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
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
      local r = redis.pcall('XADD', KEYS[2], '*', 'h', head, 'k', key, 'b', body)
      if type(r) == 'table' and r.err then
        answer = 'E' .. r.err
      else
        newest, added, bytes = r, added + 1, bytes + #head + #key + #body + 100
      end
    end
  end
  if keep ~= 0 then a, k = a + 6, k + 2 else a = a + 4 end
  answers[#answers + 1] = answer
end
answers[3] = int(n + made)
if made > 0 then redis.call('HSET', KEYS[4], 'n', answers[3]) end
if cap == 0 and last > sent then
  redis.call('HSET', KEYS[1], 'f', int(first), 'a', table.concat(answers, '\n', 4) .. '\n')
end
if added > 0 then
  local ledger, maxbytes, maxage = KEYS[3], tonumber(ARGV[6]), tonumber(ARGV[7])
  local l = redis.call('HMGET', ledger, 'clock', 'at', 'bytes', 'entries', 'first', 'open', 'b', 'n', 'since')
  for i = 1, 9 do l[i] = tonumber(l[i] or '0') end
  local clock = l[1] + math.max(0, math.min(now - l[2], 15000))
  local total, entries, oldest, open, b, n, since = l[3] + bytes, l[4] + added, l[5], l[6], l[7] + bytes, l[8] + added, l[9]
  if n == added then since = clock end
  if b * 64 >= maxbytes or n * 64 >= cap or (clock - since) * 16 >= maxage then
    redis.call('HSET', ledger, int(open), int(b) .. ' ' .. int(n) .. ' ' .. int(clock) .. ' ' .. newest)
    open, b, n = open + 1, 0, 0
  end
  local cut
  while oldest < open do
    local pb, pn, ended, ms, seq = string.match(redis.call('HGET', ledger, int(oldest)), '^(%d+) (%d+) (%d+) (%d+)-(%d+)$')
    if total <= maxbytes and entries <= cap and clock - tonumber(ended) < maxage then break end
    redis.call('HDEL', ledger, int(oldest))
    total, entries, oldest, cut = total - tonumber(pb), entries - tonumber(pn), oldest + 1, ms .. '-' .. int(tonumber(seq) + 1)
  end
  if cut then redis.call('XTRIM', KEYS[2], 'MINID', '=', cut) end
  redis.call('HSET', ledger, 'clock', int(clock), 'at', int(now), 'bytes', int(total), 'entries', int(entries),
    'first', int(oldest), 'open', int(open), 'b', int(b), 'n', int(n), 'since', int(since))
end
return answers
`)

// read gives a page of a room's history.
//
//	KEYS  history, offset, the shard's record
//	ARGV  the offset after which to begin, how many entries, the arguments of enter
//
// The answer is DOUBT, or the shard's epoch and count, the room's epoch, newest offset, oldest living offset, the last offset looked at,
// then offset, ms and body of each. Whether an entry is too old goes by the clock that dated it. They are in the order of time, so the oldest living one is
// found by halving.
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
