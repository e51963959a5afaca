"""What the Redis server runs in one piece: applying an event, recording a label report.

The server runs nothing else meanwhile, so that of two processes that hand in the same event one
counts it. A record under an id is ``E``, digest (16 bytes), label report (8), moment (8) and the
keys of the entities whose features look at the label; or ``P`` and a report that came before its
event. See :mod:`features.online.redis_members`.
"""

APPLIED, DUPLICATE, CONFLICT, TOO_LATE = 1, 2, 3, 4
ACCEPTED, REPEATED, UNKNOWN = 1, 2, 3

HOT_EVENTS = 128
"""Events from which on an entity is hot. Up to here Redis keeps a set packed, by default."""

# KEYS: id, newest moment, hot entities, then each entity of the event.
# ARGV: record, digest, moment, score, longest retention (us), seconds to live, then for each
# entity: member, retention (us), 1 where the member holds a label report.
# Arithmetic on moments is in doubles, exact to the microsecond until the year 2255.
APPLY = f"""
local record, report = ARGV[1], nil
local found = redis.call('GET', KEYS[1])
if found then
  if string.sub(found, 1, 1) == 'E' then
    if string.sub(found, 2, 17) == ARGV[2] then return {DUPLICATE} end
    return {CONFLICT}
  end
  report = string.sub(found, 2, 9)
  record = string.sub(record, 1, 17) .. report .. string.sub(record, 26)
end
redis.call('SET', KEYS[1], record, 'EX', ARGV[6])
local moment = tonumber(ARGV[3])
local newest = tonumber(redis.call('GET', KEYS[2]) or '-inf')
if moment < newest - tonumber(ARGV[5]) then return {TOO_LATE} end
if moment > newest then
  newest = moment
  redis.call('SET', KEYS[2], ARGV[3])
end
for n = 4, #KEYS do
  local member, cutoff = ARGV[3 * n - 5], newest - tonumber(ARGV[3 * n - 4])
  if report and ARGV[3 * n - 3] == '1' then
    member = string.sub(member, 1, -17) .. report .. string.sub(member, -8)
  end
  if moment >= cutoff then
    redis.call('ZADD', KEYS[n], ARGV[4], member)
    local expired = redis.call('ZREMRANGEBYSCORE', KEYS[n], '-inf',
      string.format('(%.0f', math.floor(cutoff / 1000000)))
    redis.call('EXPIRE', KEYS[n], ARGV[6])
    local size = redis.call('ZCARD', KEYS[n])
    if size > {HOT_EVENTS} then
      redis.call('ZADD', KEYS[3], size, KEYS[n])
    elseif expired > 0 then
      redis.call('ZREM', KEYS[3], KEYS[n])
    end
  end
end
return {APPLIED}
"""

# KEYS: id, newest moment.
# ARGV: report, when it was reported, longest retention (us), seconds to live, prefix of entities.
# Reports are compared as two halves: a double does not hold every number of 8 bytes.
REPORT = f"""
local function later(one, other)
  local a, b = struct.unpack('>i4', one), struct.unpack('>i4', other)
  if a ~= b then return a > b end
  return struct.unpack('>I4', one, 5) > struct.unpack('>I4', other, 5)
end
local report = ARGV[1]
local found = redis.call('GET', KEYS[1])
if not found then
  local newest = tonumber(redis.call('GET', KEYS[2]) or '-inf')
  if tonumber(ARGV[2]) >= newest - tonumber(ARGV[3]) then
    redis.call('SET', KEYS[1], 'P' .. report, 'EX', ARGV[4])
  end
  return {UNKNOWN}
end
if string.sub(found, 1, 1) == 'P' then
  if later(report, string.sub(found, 2, 9)) then
    redis.call('SET', KEYS[1], 'P' .. report, 'KEEPTTL')
  end
  return {UNKNOWN}
end
local before = string.sub(found, 18, 25)
if not later(report, before) then return {REPEATED} end
redis.call('SET', KEYS[1], string.sub(found, 1, 17) .. report .. string.sub(found, 26), 'KEEPTTL')
local tag, second = string.sub(found, 2, 9), math.floor(struct.unpack('>i8', found, 26) / 1000000)
local at = 34
while at <= #found do
  local length = struct.unpack('>I4', found, at)
  local entity = ARGV[5] .. string.sub(found, at + 4, at + 3 + length)
  at = at + 4 + length
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', entity, second, second)) do
    if string.sub(member, -8) == tag then
      local changed = string.sub(member, 1, -17) .. report .. string.sub(member, -8)
      redis.call('ZADD', entity, redis.call('ZSCORE', entity, member), changed)
      redis.call('ZREM', entity, member)
    end
  end
end
return {ACCEPTED}
"""

# KEYS: ids. ARGV: the cutoff in microseconds. Returns how many ids were forgotten.
FORGET = """
local n = 0
for _, key in ipairs(KEYS) do
  local found = redis.call('GET', key)
  if found then
    local moment
    if string.sub(found, 1, 1) == 'E' then
      moment = struct.unpack('>i8', found, 26)
    else
      moment = math.floor(struct.unpack('>i8', found, 2) / 2)
    end
    if moment < tonumber(ARGV[1]) then n = n + redis.call('UNLINK', key) end
  end
end
return n
"""
