"""What a Redis store does in one step, as Lua that the server runs.

Every script has the prefix of our keys as its only key. All our keys have one hash tag, so that on
a cluster they are in one slot. Keys, after the prefix:

    meta      hash: format, id, seq, labels
    e:ID      an entry: 16 bytes of exact key, the length of its category, this, the packed rest
    a:ID      its answer; both expire
    ids       sorted set: entries by the number of the change they came with
    ends      sorted set: entries by the server's time in ms when they are given out no more
    keys      hash: entry by exact key
    c:NAME    set: entries of a category
    cats      set: categories that have had any
    feed      stream: changes, with their numbers as ids
    verdicts, counters, memos    hashes
    labels    stream
"""

from __future__ import annotations

_COMMON = """
local p = KEYS[1]
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function make()
  if redis.call('HSETNX', p .. 'meta', 'format', '1') == 1 then
    local t = redis.call('TIME')
    redis.call('HSET', p .. 'meta', 'id', redis.sha1hex(p .. t[1] .. ' ' .. t[2]):sub(1, 16))
  end
end
local function tell(kind, body, origin, most)
  make()  -- somebody may have emptied the database
  local seq = redis.call('HINCRBY', p .. 'meta', 'seq', 1)
  redis.call('XADD', p .. 'feed', 'MAXLEN', '~', most, seq .. '-0', 'k', kind, 'b', body,
             'o', origin)
  return seq
end
local function drop(id)
  local packed = redis.call('GETRANGE', p .. 'e:' .. id, 0, 80)
  local there = redis.call('ZREM', p .. 'ids', id)
  redis.call('ZREM', p .. 'ends', id)
  if #packed > 17 then
    local key, category = packed:sub(1, 16), packed:sub(18, 17 + packed:byte(17))
    if redis.call('HGET', p .. 'keys', key) == id then redis.call('HDEL', p .. 'keys', key) end
    redis.call('SREM', p .. 'c:' .. category, id)
  elseif there == 1 then
    for _, category in ipairs(redis.call('SMEMBERS', p .. 'cats')) do
      redis.call('SREM', p .. 'c:' .. category, id)
    end
  end
  redis.call('UNLINK', p .. 'e:' .. id, p .. 'a:' .. id)
  return there
end
"""

OPEN = (
    _COMMON
    + """
-- ARGV: 1 to make what is not there
for name, kind in pairs({ids='zset', ends='zset', keys='hash', feed='stream', cats='set',
                         verdicts='hash', counters='hash', memos='hash', labels='stream'}) do
  local found = redis.call('TYPE', p .. name)['ok']
  if found ~= 'none' and (found ~= kind or redis.call('EXISTS', p .. 'meta') == 0) then
    return {'foreign', name}
  end
end
local found = redis.call('TYPE', p .. 'meta')['ok']
if found == 'none' and ARGV[1] == '0' then
  return {'none'}
elseif found == 'none' then
  make()
elseif found ~= 'hash' or not redis.call('HGET', p .. 'meta', 'format') then
  return {'foreign', 'meta'}
end
return {'ok', redis.call('HGET', p .. 'meta', 'format'), redis.call('HGET', p .. 'meta', 'id')}
"""
)

PUT = (
    _COMMON
    + """
-- ARGV: id, exact key, category, packed, answer, ms to keep or '', ms more for the entry itself,
--       names as JSON, origin, most changes
make()  -- goes first: a server without memory refuses a script at its first write only
local id, key, category = ARGV[1], ARGV[2], ARGV[3]
local replaced = {}
local old = redis.call('HGET', p .. 'keys', key)
if old and old ~= id and drop(old) == 1 then table.insert(replaced, old) end
drop(id)
local packed = key .. string.char(#category) .. category .. ARGV[4]
if ARGV[6] == '' then
  redis.call('SET', p .. 'e:' .. id, packed)
  redis.call('SET', p .. 'a:' .. id, ARGV[5])
else
  redis.call('SET', p .. 'e:' .. id, packed, 'PX', string.format('%.0f', ARGV[6] + ARGV[7]))
  redis.call('SET', p .. 'a:' .. id, ARGV[5], 'PX', ARGV[6])
end
redis.call('HSET', p .. 'keys', key, id)
redis.call('SADD', p .. 'c:' .. category, id)
redis.call('SADD', p .. 'cats', category)
if ARGV[6] ~= '' then
  redis.call('ZADD', p .. 'ends', string.format('%.0f', now() + ARGV[6]), id)
end
if #replaced > 0 then tell('gone', cjson.encode(replaced), ARGV[9], ARGV[10]) end
local seq = tell('put', ARGV[8], ARGV[9], ARGV[10])
redis.call('ZADD', p .. 'ids', seq, id)
return replaced
"""
)

REVECTOR = (
    _COMMON
    + """
-- ARGV: id, exact key, category, packed, names as JSON, origin, most changes
local id, head = ARGV[1], ARGV[2] .. string.char(#ARGV[3]) .. ARGV[3]
if redis.call('EXISTS', p .. 'a:' .. id) == 0 then return 0 end
if redis.call('GETRANGE', p .. 'e:' .. id, 0, #head - 1) ~= head then return 0 end
redis.call('SET', p .. 'e:' .. id, head .. ARGV[4], 'KEEPTTL')
tell('put', ARGV[5], ARGV[6], ARGV[7])
return 1
"""
)

DELETE = (
    _COMMON
    + """
-- ARGV: origin, most changes, ids ...
local gone = {}
for i = 3, #ARGV do
  if drop(ARGV[i]) == 1 then table.insert(gone, ARGV[i]) end
end
if #gone > 0 then tell('gone', cjson.encode(gone), ARGV[1], ARGV[2]) end
return gone
"""
)

EXPIRE = (
    _COMMON
    + """
-- ARGV: origin, most changes, most entries
local gone = redis.call('ZRANGEBYSCORE', p .. 'ends', '-inf', string.format('%.0f', now()),
                        'LIMIT', 0, ARGV[3])
for _, id in ipairs(gone) do drop(id) end
if #gone > 0 then tell('gone', cjson.encode(gone), ARGV[1], ARGV[2]) end
return #gone
"""
)

KEEP = (
    _COMMON
    + """
-- ARGV: name of the hash, field, value, kind of change, body, origin, most changes
redis.call('HSET', p .. ARGV[1], ARGV[2], ARGV[3])
tell(ARGV[4], ARGV[5], ARGV[6], ARGV[7])
"""
)

LABEL = (
    _COMMON
    + """
-- ARGV: most labels, origin, most changes, labels ...
for i = 4, #ARGV do
  local seq = redis.call('HINCRBY', p .. 'meta', 'labels', 1)
  redis.call('XADD', p .. 'labels', 'MAXLEN', ARGV[1], seq .. '-0', 'l', ARGV[i])
end
tell('labels', '[]', ARGV[2], ARGV[3])
"""
)
