package redis

import goredis "github.com/redis/go-redis/v9"

// The position of a sink is a hash: incarnation and offset, and which session
// may write (owner), the how manyth it is (fence), its host, pid and since when.
// Entries of a transaction that is too large to be sent at once are put aside in a
// list until it ends, with their fields one after the other.
//
// A script that fails half-way is not undone, so whatever can fail is looked at
// before the first entry is added.
const luaSink = `
local function others()
  local is = redis.call('HMGET', KEYS[1], 'owner', 'incarnation', 'offset', 'host', 'pid', 'at')
  if is[1] == ARGV[1] and (is[2] or '') == ARGV[2] and (is[3] or '') == ARGV[3] then return nil end
  return {'owner', is[1] or '', is[4] or '', is[5] or '', is[6] or ''}
end
`

// scriptTake takes a position over.
// KEYS: position, list. ARGV: owner, host, pid, time.
var scriptTake = goredis.NewScript(anyway + `
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'host', ARGV[2], 'pid', ARGV[3], 'at', ARGV[4])
redis.call('DEL', KEYS[2])
return {redis.call('HGET', KEYS[1], 'incarnation') or '', redis.call('HGET', KEYS[1], 'offset') or ''}
`)

// scriptStage puts entries aside.
// KEYS: position, list. ARGV: owner, position before, then fields.
var scriptStage = goredis.NewScript(ifRoom + luaSink + `
local other = others()
if other then return other end
for i = 4, #ARGV, 600 do
  redis.call('RPUSH', KEYS[2], unpack(ARGV, i, math.min(i + 599, #ARGV)))
end
return {'done'}
`)

// scriptCommit adds entries and stores the position behind them.
// KEYS: position, list, streams. ARGV: owner, position before, position,
// how many entries stay, then fields.
var scriptCommit = goredis.NewScript(ifRoom + luaSink + `
local other = others()
if other then return other end
for i = 3, #KEYS do
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind ~= 'none' and kind ~= 'stream' then return {'type', KEYS[i]} end
end
local function add(list, from)
  for i = from, #list, 6 do
    local entry = {KEYS[2 + tonumber(list[i])]}
    if ARGV[6] ~= '0' then
      entry[2], entry[3], entry[4] = 'MAXLEN', '~', ARGV[6]
    end
    entry[#entry + 1] = '*'
    for at, name in ipairs({'id', 'op', 'key', 'old_key', 'value'}) do
      if list[i + at] ~= '' then
        entry[#entry + 1] = name
        entry[#entry + 1] = list[i + at]
      end
    end
    redis.call('XADD', unpack(entry))
  end
end
local aside = redis.call('LLEN', KEYS[2])
for i = 0, aside - 1, 600 do
  add(redis.call('LRANGE', KEYS[2], i, i + 599), 1)
end
if aside > 0 then redis.call('DEL', KEYS[2]) end
add(ARGV, 7)
redis.call('HSET', KEYS[1], 'incarnation', ARGV[4], 'offset', ARGV[5])
return {'done'}
`)

// scriptDrop removes what was put aside. KEYS: position, list. ARGV: owner.
var scriptDrop = goredis.NewScript(anyway + `
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 0
`)
