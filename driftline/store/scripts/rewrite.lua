-- Puts a copy of a stream, in which some entries are others, in its place. What was added since the copy was made is added to it.
-- An entry that is only deleted would stay in the memory and the files of the store: the copy has never held it.
-- KEYS: epoch, stream, copy, commands    ARGV: epoch, id of the last entry that was copied ('' where there was none), then the
-- numbers of records that have become commands
-- Answers 'ok', 'gone' (the stream), or 'fenced'.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'fenced' end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[3])
  return 'gone'
end
local start = ARGV[2] == '' and '-' or '(' .. ARGV[2]
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], start, '+')) do
  redis.call('XADD', KEYS[3], entry[1], unpack(entry[2]))
end
-- Ids go on from where they were, also where the newest entries were deleted; and what was trimmed meanwhile goes here too.
local info, newest = redis.call('XINFO', 'STREAM', KEYS[2]), nil
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then newest = info[i + 1] end
end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('XADD', KEYS[3], newest, 'x', '')
  redis.call('XTRIM', KEYS[3], 'MAXLEN', 0)
end
if oldest then redis.call('XTRIM', KEYS[3], 'MINID', oldest[1]) end
redis.call('XSETID', KEYS[3], newest)
local ms = redis.call('PTTL', KEYS[2])
redis.call('RENAME', KEYS[3], KEYS[2])
if ms > 0 then redis.call('PEXPIRE', KEYS[2], ms) else redis.call('PERSIST', KEYS[2]) end
for i = 3, #ARGV do redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i]) end
return 'ok'
