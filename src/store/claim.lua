-- Prepended to connect and assert: what both do to a user's entry.
-- The distinct epochs among a user's tags, except one.
local function epochs(tags, except)
  local seen, found = { [except] = true }, {}
  for _, tag in ipairs(tags) do
    local e = epoch_of(tag)
    if not seen[e] then seen[e] = true; found[#found + 1] = e end
  end
  return found
end

-- Claims one connection for an epoch. `since` is '' for a new connection and the time of the
-- first registration for one that is asserted again; a younger one is never pushed aside by it.
-- Answers status, tag or the tags in the way, siblings, previous tag.
local function claim(k, a)
  if call('EXISTS', k.revoked) == 1 then return 'REVOKED', '' end
  local since = a.since
  local old = call('HGET', k.user, a.device)
  if old and since ~= '' then
    local theirs = string.match(old, '%d+$')
    if #theirs == #since and theirs > since or #theirs > #since then return 'DISPLACED', old end
  end
  if since == '' then since = now() end
  local tag = '@' .. a.epoch .. '.' .. a.number .. '.' .. since
  if old ~= tag then
    if not old and call('HLEN', k.user) >= tonumber(a.limit) then
      return 'LIMIT', table.concat(call('HVALS', k.user), ' ')
    end
    call('HSET', k.user, a.device, tag)
    call('HSET', k.seen, a.epoch, '1')
    if old and epoch_of(old) ~= a.epoch and string.match(old, '%d+$') ~= since then
      tell(a.channel, epoch_of(old), 'D', a.user .. ' ' .. a.device .. ' ' .. old)
    end
  end
  local first = call('HSET', k.index, a.user, '1') == 1
  local siblings = epochs(call('HVALS', k.user), a.epoch)
  if first then
    for _, e in ipairs(siblings) do tell(a.channel, e, 'O', a.user .. ' ' .. a.epoch) end
  end
  return 'OK', tag, table.concat(siblings, ' '), old or ''
end
