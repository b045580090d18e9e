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

-- Removes a user's oldest connections until there is room for one more, and tells their owners.
-- Answers their tags.
local function make_room(k, a)
  local all, entries, gone = call('HGETALL', k.user), {}, {}
  for i = 1, #all, 2 do
    local since = tonumber(string.match(all[i + 1], '%d+$'))
    entries[#entries + 1] = { device = all[i], tag = all[i + 1], since = since }
  end
  table.sort(entries, function(x, y)
    if x.since == y.since then return x.device < y.device end
    return x.since < y.since
  end)
  for i = 1, #entries - tonumber(a.limit) + 1 do
    local entry = entries[i]
    call('HDEL', k.user, entry.device)
    local named = a.user .. ' ' .. entry.device .. ' ' .. entry.tag
    tell(a.channel, epoch_of(entry.tag), 'D', named)
    gone[#gone + 1] = entry.tag
  end
  return gone
end

-- Claims one connection for an epoch. `since` is '' for a new connection and the time of the
-- first registration for one that is asserted again; a younger one is never pushed aside by it.
-- Only a new one may displace others.
-- Answers status, tag or the tags in the way, siblings, tags displaced to make room.
local function claim(k, a)
  if call('EXISTS', k.revoked) == 1 then return 'REVOKED', '' end
  local since = a.since
  local old = call('HGET', k.user, a.device)
  if old and since ~= '' then
    local theirs = string.match(old, '%d+$')
    if #theirs == #since and theirs > since or #theirs > #since then return 'DISPLACED', old end
  end
  local is_new, displaced = since == '', {}
  if is_new then since = now() end
  local tag = '@' .. a.epoch .. '.' .. a.number .. '.' .. since
  if old ~= tag then
    if not old and call('HLEN', k.user) >= tonumber(a.limit) then
      if not (is_new and a.displaces == '1') then
        return 'LIMIT', table.concat(call('HVALS', k.user), ' ')
      end
      displaced = make_room(k, a)
    end
    call('HSET', k.user, a.device, tag)
    call('HSET', k.seen, a.epoch, '1')
    if old and epoch_of(old) ~= a.epoch and string.match(old, '%d+$') ~= since then
      tell(a.channel, epoch_of(old), 'D', a.user .. ' ' .. a.device .. ' ' .. old)
    end
  end
  local first = call('HSET', k.index, a.user, '1') == 1
  local siblings = epochs(call('HVALS', k.user), a.epoch)
  -- Who registers again may have been unheard meanwhile, and been taken for gone.
  if first or not is_new then
    for _, e in ipairs(siblings) do tell(a.channel, e, 'O', a.user .. ' ' .. a.epoch) end
  end
  return 'OK', tag, table.concat(siblings, ' '), table.concat(displaced, ' ')
end
