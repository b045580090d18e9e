-- member: the table of the fleet's epochs.
-- KEYS  1 hb (epoch -> counter)  2 inf (epoch -> JSON)  3 conf  4 origin (origin -> epoch)
--       5 dead (epoch -> second it was killed)
-- ARGV  1 join | beat | list | table | killed | leave | kill  2 epoch  then per verb
local call, verb, epoch = redis.call, ARGV[1], ARGV[2]
local DEAD_S = 60 -- long enough for every member's next look, change of view included

local function forget(origin)
  call('HDEL', KEYS[1], epoch)
  call('HDEL', KEYS[2], epoch)
  if origin and call('HGET', KEYS[4], origin) == epoch then call('HDEL', KEYS[4], origin) end
end

local function origin_of()
  local info = call('HGET', KEYS[2], epoch)
  return info and cjson.decode(info).origin
end

-- join  3 origin  4 info  5 the epoch this origin had ('' = none)  6 oldest and 7 newest schema that
-- it knows  then pairs of conf
-- Answers {'OK'} | {'TAKEN'} | {'MISMATCH', key, theirs}
if verb == 'join' then
  local schema = call('HGET', KEYS[3], 'schema')
  local number = tonumber(schema or ARGV[6]) -- the first member's choice
  if not number or number < tonumber(ARGV[6]) or number > tonumber(ARGV[7]) then
    return { 'MISMATCH', 'schema', schema }
  end
  for i = 8, #ARGV, 2 do
    local theirs = call('HGET', KEYS[3], ARGV[i])
    if theirs and theirs ~= ARGV[i + 1] then return { 'MISMATCH', ARGV[i], theirs } end
  end
  local holder = call('HGET', KEYS[4], ARGV[3])
  local ours = holder == epoch or holder == ARGV[5] -- said before, and the answer was lost
  if holder and not ours and call('HEXISTS', KEYS[1], holder) == 1 then return { 'TAKEN' } end
  call('HSETNX', KEYS[3], 'schema', ARGV[6])
  for i = 8, #ARGV, 2 do call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  call('HSET', KEYS[4], ARGV[3], epoch)
  call('HSETNX', KEYS[1], epoch, '0')
  call('HSET', KEYS[2], epoch, ARGV[4])
  return { 'OK' }
end

-- beat  Answers {'FENCED'} | {'OK', {epoch, counter…}, {dead epoch…}}
if verb == 'beat' then
  if call('HEXISTS', KEYS[1], epoch) == 0 then return { 'FENCED' } end
  call('HINCRBY', KEYS[1], epoch, 1)
  local now, dead, fresh = tonumber(call('TIME')[1]), call('HGETALL', KEYS[5]), {}
  for i = 1, #dead, 2 do
    if now - tonumber(dead[i + 1]) > DEAD_S then call('HDEL', KEYS[5], dead[i])
    else fresh[#fresh + 1] = dead[i] end
  end
  return { 'OK', call('HGETALL', KEYS[1]), fresh }
end

-- list  Answers {'OK', {epoch...}}
if verb == 'list' then return { 'OK', call('HKEYS', KEYS[1]) } end

-- table  Answers {'OK', {epoch, counter...}, {epoch, info...}}
if verb == 'table' then return { 'OK', call('HGETALL', KEYS[1]), call('HGETALL', KEYS[2]) } end

-- killed  Answers {'OK', 1 if the epoch was killed within the last minute}
if verb == 'killed' then return { 'OK', call('HEXISTS', KEYS[5], epoch) } end

-- leave  3 origin
if verb == 'leave' then forget(ARGV[3]); return { 'OK' } end

-- kill  3 the counter it was last seen with: one that has moved since is not dead
if call('HGET', KEYS[1], epoch) ~= ARGV[3] then return { 'ALIVE' } end
forget(origin_of())
call('HSET', KEYS[5], epoch, call('TIME')[1])
return { 'OK' }
