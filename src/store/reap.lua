-- reap: fences an epoch in one partition for good, then removes what it left, a bounded part per
-- call. The tombstone comes first: from then on no late write of that epoch counts.
-- KEYS  1 index of the epoch  2 epochs seen
-- ARGV  1 epoch  2 cursor  3 users per call  4 key prefix of the partition  5 tombstone ttl in s
--       6 window in s (0 = never hold)  7 channel prefix
-- Answers {users left, connections removed, next cursor}
local epoch, prefix = ARGV[1], ARGV[4]
call('HSET', KEYS[1], '!', 'x')
call('EXPIRE', KEYS[1], ARGV[5])
local page = call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local removed = 0
for i = 1, #page[2], 2 do
  local user = page[2][i]
  if user ~= '!' then
    local key, others = prefix .. 'u:' .. user, {}
    local all = call('HGETALL', key)
    for j = 1, #all, 2 do
      local e = epoch_of(all[j + 1])
      if e == epoch then removed = removed + call('HDEL', key, all[j]) else others[e] = true end
    end
    call('HDEL', KEYS[1], user)
    if next(others) == nil and ARGV[6] ~= '0' then
      mark({ mailbox = prefix .. 'q:' .. user, marker = prefix .. 'r:' .. user }, ARGV[6])
    end
    for e in pairs(others) do tell(ARGV[7], e, 'o', user .. ' ' .. epoch) end
  end
end
local left = call('HLEN', KEYS[1]) - 1
if left == 0 then call('HDEL', KEYS[2], epoch) end
return { left, removed, page[1] }
