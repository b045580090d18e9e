-- Prepended to claim and mailbox: the words every script of ownership is made of.
local call = redis.call

-- Redis's clock in microseconds, as text: one clock for the whole fleet.
local function now()
  local t = call('TIME')
  return t[1] .. string.sub('000000' .. t[2], -6)
end

-- One envelope for an inbox: format byte, kind, length, body. A hash tag in the channel's name
-- says that this is a cluster, where a script may publish in the slot of its keys only.
local function tell(channel, epoch, kind, body)
  local publish = string.find(channel, '{', 1, true) and 'SPUBLISH' or 'PUBLISH'
  return call(publish, channel .. epoch, '1' .. kind .. #body .. ':' .. body)
end

local function epoch_of(tag) return string.sub(tag, 2, 12) end
