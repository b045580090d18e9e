-- disconnect: releases one connection, if it is still this one's to release, and keeps what it
-- could not write any more if nobody else has the user.
-- KEYS  1 connections of the user  2 mailbox  3 hold marker  4 index of the epoch
-- ARGV  1 user  2 device  3 tag  4 epoch  5 channel prefix
--       6 window in s (0 = never keep)  7 mailbox ttl in s  8 most entries  9 most bytes
--       10 1: kept until read, not for the window only  then per unwritten message: mid, payload
-- Answers {removed, connections left, messages kept}
local k = { mailbox = KEYS[2], marker = KEYS[3] }
local removed = 0
if call('HGET', KEYS[1], ARGV[2]) == ARGV[3] then removed = call('HDEL', KEYS[1], ARGV[2]) end
local tags = call('HVALS', KEYS[1])
local mine, seen = false, {}
for _, tag in ipairs(tags) do
  local e = epoch_of(tag)
  if e == ARGV[4] then mine = true else seen[e] = true end
end
if not mine and call('HDEL', KEYS[4], ARGV[1]) == 1 then
  for e in pairs(seen) do tell(ARGV[5], e, 'o', ARGV[1] .. ' ' .. ARGV[4]) end
end
if #tags > 0 or ARGV[6] == '0' then return { removed, #tags, 0 } end
if removed == 1 then mark(k, ARGV[6]) end
local b = {
  window = ARGV[6], ttl = ARGV[7], entries = tonumber(ARGV[8]), bytes = tonumber(ARGV[9]),
  keeps = ARGV[10],
}
local known, kept = #ARGV > 10 and mids(k) or {}, 0
for i = 11, #ARGV, 2 do
  if append(k, b, known, ARGV[i], ARGV[i + 1]) ~= 'full' then kept = kept + 1 end
end
return { removed, 0, kept }
