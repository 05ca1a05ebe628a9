package redis

import goredis "github.com/redis/go-redis/v9"

// A stream's identity is the name of a consumer group that nobody reads by: it is
// made with the key, is lost with it, and is there when the stream has no entry.
// The fields of an entry are the message under the stream's identity, and under
// "s" about how many bytes of memory were given out before it, and for it.
//
// The hash beside has, besides values, the names with a # in front: "#id" is the
// stream's identity, "#run" the run of the server that it was last seen on, "#gaps"
// what became of earlier ones, "#given" the last number that may have been given
// out, "#total" the bytes of memory that were, "#void" those of messages that were
// removed before the markers of some numbers.
//
// Numbers stay below 2^53, since Lua has no others.
const lua = `
local function identity(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    if string.sub(group[2], 1, 8) == 'entrain.' then return group[2] end
  end
  return ''
end
local function text(number) return string.format('%.0f', number) end
local function number(entry) return (string.gsub(entry[1], '-.*', '')) end
local function ends(command, from, to)
  local entry = redis.call(command, KEYS[1], from, to, 'COUNT', 1)[1]
  if entry then return number(entry), entry end
  return '0', nil
end
`

// anyway lets a script write though the memory is full: what it writes is small,
// or room is made by it.
const (
	anyway = "#!lua flags=allow-oom\n"
	ifRoom = "#!lua\n"
)

// scriptOpen makes a stream if there is none, and notes that it was seen on a run
// of the server. Numbers behind a change of that begin at the time in
// microseconds: no run before can have come so far.
//
// A server that was killed in the middle of a transaction loads its file without the
// torn part, but may leave that there, so that it comes back when the server is started
// once more, before what was written since (valkey-io/valkey#4342 mends it). Then entries are in
// a gap, and are removed. That there are two commands below makes them a transaction of the
// server's file, which ends such a part: behind it nothing can be lost with it.
// KEYS: stream, hash, set of producers. ARGV: new identity, run, producer.
var scriptOpen = goredis.NewScript(anyway + lua + `
local id = identity(KEYS[1])
if id == '' then return {'', '', ''} end
if not id then
  id = ARGV[1]
  redis.call('DEL', KEYS[2])
  redis.call('XGROUP', 'CREATE', KEYS[1], id, '0', 'MKSTREAM')
  redis.call('HSET', KEYS[2], '#id', id, '#run', ARGV[2], '#total', '0', '#given', '0', '#gaps', '', '#void', '')
  redis.call('SADD', KEYS[3], ARGV[3])
end
local kept = redis.call('HGET', KEYS[2], '#id') or ''
if kept ~= id then return {id, kept, ''} end
local gaps = redis.call('HGET', KEYS[2], '#gaps')
if redis.call('HGET', KEYS[2], '#run') ~= ARGV[2] then
  for survived, floor in string.gmatch(gaps, '(%d+):(%d+)') do
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. survived .. '-0', floor .. '-0')) do
      redis.call('XDEL', KEYS[1], entry[1])
    end
  end
  local first, last = tonumber((ends('XRANGE', '-', '+'))), (ends('XREVRANGE', '+', '-'))
  local still = ''
  for survived, floor in string.gmatch(gaps, '(%d+):(%d+)') do
    if tonumber(floor) + 1 >= first then still = still .. survived .. ':' .. floor .. ' ' end
  end
  local now = redis.call('TIME')
  local floor = math.max(tonumber(now[1]) * 1000000 + tonumber(now[2]), tonumber(redis.call('HGET', KEYS[2], '#given')))
  gaps = still .. last .. ':' .. text(floor) .. ' '
  redis.call('HSET', KEYS[2], '#gaps', gaps, '#given', text(floor))
  redis.call('HSET', KEYS[2], '#run', ARGV[2])
end
return {id, kept, gaps}
`)

// scriptAppend adds messages behind the last one, all or none. A number that was
// given out by another program, whose entry was removed, cannot be given out again.
// ARGV: identity, number of the last message, then bytes of memory and data of each.
var scriptAppend = goredis.NewScript(ifRoom + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return {'gone', '0'} end
local function above()
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) + 1 end
  end
end
local last = (ends('XREVRANGE', '+', '-'))
if last ~= ARGV[2] then return {'fenced', last} end
local given = tonumber(redis.call('HGET', KEYS[2], '#given'))
local total = tonumber(redis.call('HGET', KEYS[2], '#total'))
for i = 3, #ARGV, 2 do
  given = given + 1
  local entry = {ARGV[1], ARGV[i + 1], 's', text(total) .. ' ' .. ARGV[i]}
  local added = redis.pcall('XADD', KEYS[1], text(given) .. '-0', unpack(entry))
  if type(added) == 'table' and added.err then
    given = above()
    redis.call('XADD', KEYS[1], text(given) .. '-0', unpack(entry))
  end
  total = total + tonumber(ARGV[i])
end
redis.call('HSET', KEYS[2], '#given', text(given), '#total', text(total))
return {'done', text(given)}
`)

// scriptRemove takes away some messages between two numbers, the newest first, and
// returns how many. ARGV: identity, after, before.
var scriptRemove = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return -1 end
local some = redis.call('XREVRANGE', KEYS[1], '(' .. ARGV[3] .. '-0', '(' .. ARGV[2] .. '-0', 'COUNT', 16)
if #some == 0 then return 0 end
local bytes, still = 0, ''
for _, entry in ipairs(some) do
  bytes = bytes + tonumber(string.match(entry[2][4], ' (%d+)'))
  redis.call('XDEL', KEYS[1], entry[1])
end
local first = tonumber((ends('XRANGE', '-', '+')))
for before, n in string.gmatch(redis.call('HGET', KEYS[2], '#void'), '(%d+):(%d+)') do
  if before == ARGV[3] then bytes = bytes + tonumber(n)
  elseif tonumber(before) > first then still = still .. before .. ':' .. n .. ' ' end
end
redis.call('HSET', KEYS[2], '#void', still .. ARGV[3] .. ':' .. text(bytes) .. ' ')
return #some
`)

// scriptTrim removes all messages through a number. ARGV: identity, number behind it.
var scriptTrim = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2] .. '-0')
`)

// scriptStat measures. ARGV: identity.
var scriptStat = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return {'gone'} end
local first, entry = ends('XRANGE', '-', '+')
if not entry then return {'empty'} end
local total = redis.call('HGET', KEYS[2], '#total')
local bytes = tonumber(total) - tonumber(string.match(entry[2][4] or '', '^%d+') or total)
for before, n in string.gmatch(redis.call('HGET', KEYS[2], '#void'), '(%d+):(%d+)') do
  if tonumber(before) > tonumber(first) then bytes = bytes - tonumber(n) end
end
return {'done', first, (ends('XREVRANGE', '+', '-')), text(redis.call('XLEN', KEYS[1])), text(bytes)}
`)

// scriptValues returns the whole hash. ARGV: identity.
var scriptValues = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return {} end
return redis.call('HGETALL', KEYS[2])
`)

// scriptStore stores a value, or removes it if none is given.
// ARGV: identity, name, value.
var scriptStore = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return -1 end
if #ARGV == 2 then return redis.call('HDEL', KEYS[2], ARGV[2]) end
return redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
`)

// scriptHere reports whether the stream is still there. ARGV: identity.
var scriptHere = goredis.NewScript(anyway + lua + `
if identity(KEYS[1]) ~= ARGV[1] then return -1 end
return 0
`)
