-- revoke: shuts a user out: first the mark that every connect and assert looks at, then the word
-- to whoever has the user now. Who misses the word meets the mark with its next assert.
-- KEYS  1 connections of the user  2 revocation
-- ARGV  1 user  2 channel prefix  3 ttl in s
-- Answers {owners, those that heard}
call('SET', KEYS[2], now(), 'EX', ARGV[3])
return dismiss(KEYS[1], 'X', ARGV[1], ARGV[2])
