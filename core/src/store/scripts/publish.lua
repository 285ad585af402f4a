-- Stores an entry, unless there is one whose lease was granted later.
-- KEYS: entry, lease, note. ARGV: owner, entry, its time to live in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Text of a key. Any other type counts as none.
local function get(key)
  local text = redis.pcall('GET', key)
  return type(text) == 'string' and text
end

local function born(entry)
  local digits = string.match(string.sub(entry, 19, 31), '^%d+$')
  return digits and #digits == 13 and tonumber(digits)
end

local is_owner = get(KEYS[2]) == ARGV[1]
if not is_owner then
  local entry = get(KEYS[1])
  local theirs = entry and born(entry)
  if theirs and theirs > (born(ARGV[2]) or 0) then
    return {'younger', now, string.sub(entry, 1, 20481)}
  end
end
local set = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if is_owner then
  redis.pcall('DEL', KEYS[2])
end
if set.err then
  return {'refused', now, set.err}
end
redis.pcall('DEL', KEYS[3])
return {'stored', now}
