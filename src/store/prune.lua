-- prune: removes connections that nobody stands behind, each only if it still is that one, and the
-- user from the index of every epoch that has none left: or its next connect there would count as
-- not the first, and the siblings would not be told of it.
-- KEYS  1 connections of the user  then the index of each epoch
-- ARGV  1 user  2 channel prefix  then the epochs, in the order of their indexes, then the tags
-- Answers how many connections went.
local dead, owners, gone = {}, {}, 0
for i = #KEYS + 2, #ARGV do dead[ARGV[i]] = true end
local all = call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if dead[all[i + 1]] then gone = gone + call('HDEL', KEYS[1], all[i])
  else owners[epoch_of(all[i + 1])] = true end
end
for i = 2, #KEYS do
  local epoch = ARGV[i + 1]
  if not owners[epoch] and call('HDEL', KEYS[i], ARGV[1]) == 1 then
    for e in pairs(owners) do tell(ARGV[2], e, 'o', ARGV[1] .. ' ' .. epoch) end
  end
end
return gone
