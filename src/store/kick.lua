-- kick: closes the connections a user has now, and nothing more: who comes back is let in.
-- KEYS  1 connections of the user
-- ARGV  1 user  2 channel prefix
-- Answers {owners, those that heard}
return dismiss(KEYS[1], 'K', ARGV[1], ARGV[2])
