-- connect: registers one connection and reads what was held for its user, in one step, so that
-- nothing can be missed between the two.
-- KEYS  1 connections of the user  2 mailbox  3 hold marker  4 index of the epoch  5 epochs seen
--       6 revocation
-- ARGV  1 user  2 epoch  3 number  4 device  5 since ('' = new)  6 limit  7 channel prefix
--       8 1: the oldest makes room for a new one  9 mailbox ttl in s
-- Answers {'FENCED'} | {'REVOKED'} | {'DISPLACED', tag} | {'LIMIT', tags}
--       | {'OK', tag, siblings, displaced, entry…}
if call('HGET', KEYS[4], '!') == 'x' then return { 'FENCED' } end
local k = { user = KEYS[1], index = KEYS[4], seen = KEYS[5], revoked = KEYS[6] }
local a = {
  user = ARGV[1], epoch = ARGV[2], number = ARGV[3], device = ARGV[4],
  since = ARGV[5], limit = ARGV[6], channel = ARGV[7],
  displaces = ARGV[8],
}
local status, tag, siblings, displaced = claim(k, a)
if status ~= 'OK' then return { status, tag } end
local answer = { 'OK', tag, siblings, displaced }
local marker = call('GETDEL', KEYS[3])
if marker then
  local from = math.max(tonumber(marker), tonumber(now()) - tonumber(ARGV[9]) * 1e6)
  for _, entry in ipairs(call('LRANGE', KEYS[2], 0, -1)) do
    if tonumber(string.match(entry, '^%d+')) > from then answer[#answer + 1] = entry end
  end
end
return answer
