-- Prepended to revoke and kick: how the owners of a user are told to let go.
-- Tells each owner which of its connections are meant, by number: one that is registered later is
-- not, however late the word arrives, and no clock has a say in it. Answers the owners and those
-- of them that heard.
local function dismiss(connections, kind, user, channel)
  local numbers, owners, heard = {}, {}, {}
  for _, tag in ipairs(call('HVALS', connections)) do
    local e, number = epoch_of(tag), string.match(tag, '%.(%d+)%.')
    if numbers[e] then numbers[e] = numbers[e] .. ',' .. number
    else numbers[e] = number; owners[#owners + 1] = e end
  end
  for _, e in ipairs(owners) do
    if tell(channel, e, kind, user .. ' ' .. numbers[e]) > 0 then heard[#heard + 1] = e end
  end
  return { table.concat(owners, ' '), table.concat(heard, ' ') }
end
