-- Ends the owner's lease, and stores a failure note unless it is empty.
-- KEYS: entry, lease, note. ARGV: owner, note, its time to live in ms.
local refused = false

local function write(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    refused = answer.err
  end
end

if redis.pcall('GET', KEYS[2]) == ARGV[1] then
  write('DEL', KEYS[2])
end
if ARGV[2] ~= '' then
  write('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
end
return {refused and 'refused' or 'done', refused}
