-- assert: registers many connections of one partition again, after a fence or a reconnect. What
-- is held is not read here, only announced: it is rare, and a page per user could be large.
-- KEYS  1 index of the epoch  2 epochs seen  then per connection: connections of the user, marker,
--       revocation
-- ARGV  1 epoch  2 limit  3 channel prefix  then per connection: user, number, device, since
-- Answers {'FENCED'} | {'OK', {status, tag, siblings, held}…}
if call('HGET', KEYS[1], '!') == 'x' then return { 'FENCED' } end
local answer = { 'OK' }
for i = 0, (#KEYS - 2) / 3 - 1 do
  local at = 4 + 4 * i
  local own = 3 + 3 * i
  local k = { user = KEYS[own], index = KEYS[1], seen = KEYS[2], revoked = KEYS[own + 2] }
  local a = {
    user = ARGV[at], epoch = ARGV[1], number = ARGV[at + 1], device = ARGV[at + 2],
    since = ARGV[at + 3], limit = ARGV[2], channel = ARGV[3],
  }
  local status, tag, siblings = claim(k, a)
  local held = call('EXISTS', KEYS[own + 1])
  answer[#answer + 1] = { status, tag, siblings or '', held }
end
return answer
