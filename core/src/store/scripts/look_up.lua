-- Looks for an entry with another mark than the one that was seen, or takes the lease.
-- KEYS: entry, lease, note. ARGV: seen mark, owner, lease in ms (0: only look).
-- pcall, so that an entry can be read where nothing can be written.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failed = false

local function get(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' then
    return text
  end
  if text and not string.find(text.err, 'WRONGTYPE') then
    failed = text.err
  end
  return false
end

local entry = get(KEYS[1])
local note = get(KEYS[3])
local owner = get(KEYS[2])
if failed then
  return {'failed', now, false, failed}
end
note = note and string.sub(note, 1, 4096)
if entry and string.sub(entry, 3, 18) ~= ARGV[1] then
  -- One byte more than the longest valid entry is enough to be refused.
  return {'entry', now, note, string.sub(entry, 1, 20481)}
end
local ends = note and string.match(string.sub(note, 19, 31), '^%d+$')
if ends and #ends == 13 and tonumber(ends) > now then
  return {'note', now, note, false}
end
if owner == ARGV[2] then
  return {'lease', now, note, false}
end
if ARGV[3] ~= '0' then
  local set = redis.pcall('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
  if set and set.ok then
    return {'lease', now, note, false}
  end
  if set then
    return {'refused', now, note, set.err}
  end
end
return {'held', now, note, redis.call('PTTL', KEYS[2])}
