-- hold: the slow path of a message that is not stored: finds the owners, publishes to those not
-- yet tried, and keeps the message only if nobody is left who may still answer for the user.
-- KEYS  1 connections of the user  2 mailbox  3 hold marker
-- ARGV  1 user  2 sender's epoch  3 mid  4 payload  5 channel prefix  6 tried  7 deaf
--       8 window in s (0 = never keep)  9 mailbox ttl in s  10 most entries  11 most bytes
--       12 1: kept until read, not for the window only  13 1: the user exists, kept in any case
-- `tried` got the message already and will answer for itself; `deaf` said no, or nobody listened.
-- Answers {receivers, owners, fate}: fate '' (nothing kept), a seq, 'dup' or 'full'.
local user, tried, deaf = ARGV[1], ARGV[6], ARGV[7]
local k = { mailbox = KEYS[2], marker = KEYS[3] }
local tags = call('HVALS', KEYS[1])
local owners, seen = {}, {}
for _, tag in ipairs(tags) do
  local e = epoch_of(tag)
  if not seen[e] then seen[e] = true; owners[#owners + 1] = e end
end
local named = table.concat(owners, ',')
local body = user .. ' ' .. ARGV[3] .. ' ' .. ARGV[2] .. ' ' .. named .. ' ' .. ARGV[4]
local heard, waiting = 0, false
for _, e in ipairs(owners) do
  if string.find(deaf, e, 1, true) then -- will not answer
  elseif string.find(tried, e, 1, true) then waiting = true
  else heard = heard + tell(ARGV[5], e, 'E', body) end
end
if heard > 0 or waiting or ARGV[8] == '0' then return { heard, named, '' } end
if #tags == 0 and ARGV[13] ~= '1' and call('EXISTS', KEYS[3]) == 0 then return { 0, named, '' } end
local b = {
  window = ARGV[8], ttl = ARGV[9], entries = tonumber(ARGV[10]), bytes = tonumber(ARGV[11]),
  keeps = ARGV[12],
}
return { 0, named, append(k, b, mids(k), ARGV[3], ARGV[4]) }
