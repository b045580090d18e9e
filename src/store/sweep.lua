-- sweep: what one partition knows of an epoch, and whether its inbox is heard.
-- KEYS  1 index of the epoch  2 epochs seen
-- ARGV  1 epoch  2 channel prefix  3 nonce
-- Answers {'FENCED'} | {'OK', receivers, users, epochs}
if call('HGET', KEYS[1], '!') == 'x' then return { 'FENCED' } end
local heard = tell(ARGV[2], ARGV[1], 'P', ARGV[3])
return { 'OK', heard, call('HKEYS', KEYS[1]), call('HKEYS', KEYS[2]) }
