-- Prepended to hold, disconnect and reap: how a message enters a mailbox.
-- An entry is `seq prev mid acc payload`: seq from Redis's clock and always growing, prev the one
-- before it, acc the bytes appended so far.
local function seq_of(entry) return string.match(entry, '^%d+') end

local function acc_of(entry) return tonumber(string.match(entry, '^%d+ %d+ %S+ (%d+) ')) end

-- Where replay starts: at what stood last when the user was last seen, or when the first message
-- was held. Only the first to say so counts.
local function mark(k, window)
  local last = call('LINDEX', k.mailbox, -1)
  call('SET', k.marker, last and seq_of(last) or '0', 'NX', 'EX', window)
end

-- Below this nothing counts any more: everyone has read it, or it is too old.
local function floor_of(k, b)
  return math.max(tonumber(call('GET', k.marker)), tonumber(now()) - tonumber(b.ttl) * 1e6)
end

-- Drops what is at or below the floor, except the last entry, which carries the numbering on.
-- Answers the bytes appended up to there.
local function drop_dead(k, floor)
  local base = 0
  while true do
    local first = call('LINDEX', k.mailbox, 0)
    if not first then return base end
    if tonumber(seq_of(first)) > floor then
      if base == 0 then base = acc_of(first) - #string.match(first, '^%d+ %d+ %S+ %d+ (.*)$') end
      return base
    end
    base = acc_of(first)
    if call('LLEN', k.mailbox) == 1 then return base end
    call('LPOP', k.mailbox)
  end
end

-- The mids of what is there, read once per script: reading is what a long mailbox makes slow.
local function mids(k)
  local known = {}
  for _, entry in ipairs(call('LRANGE', k.mailbox, 0, -1)) do
    known[string.match(entry, '^%d+ %d+ (%S+) ')] = true
  end
  return known
end

-- Appends one message, unless its mid is known; answers its seq, 'dup' or 'full'.
local function append(k, b, known, mid, payload)
  if known[mid] then return 'dup' end
  mark(k, b.window)
  local floor = floor_of(k, b)
  local base = drop_dead(k, floor)
  local last = call('LINDEX', k.mailbox, -1)
  local unread = call('LLEN', k.mailbox)
  if last and tonumber(seq_of(last)) <= floor then unread = 0 end
  local acc = (last and acc_of(last) or base) + #payload
  if unread >= b.entries or acc - base > b.bytes then return 'full' end
  local prev, seq = last and seq_of(last) or '0', now()
  if #prev > #seq or #prev == #seq and prev >= seq then
    seq = string.format('%.0f', tonumber(prev) + 1)
  end
  local head = seq .. ' ' .. prev .. ' ' .. mid .. ' ' .. string.format('%.0f', acc) .. ' '
  call('RPUSH', k.mailbox, head .. payload)
  known[mid] = true
  call('EXPIRE', k.mailbox, b.ttl)
  if b.keeps == '1' then call('EXPIRE', k.marker, b.ttl) end
  return seq
end
