-- prune: removes connections that dead epochs left, each only if it still is that one.
-- KEYS  1 connections of the user
-- ARGV  tags
-- Answers how many went.
local dead, gone = {}, 0
for _, tag in ipairs(ARGV) do dead[tag] = true end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if dead[all[i + 1]] then gone = gone + redis.call('HDEL', KEYS[1], all[i]) end
end
return gone
