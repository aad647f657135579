-- after happened.lua
-- Makes, changes or removes the configuration of a source, if it still is as the caller knows it; removed, what is told of it
-- goes too, and the position stays: it belongs to the stream.
-- KEYS: meta, head, source_specs, source_states, events, routine
-- ARGV: channel, uid, name, before ('' where there is none), after ('' where it is removed), event
-- Answers 'gone' (the model), 'changed' (by another caller), or 'done'.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local stands = redis.call('HGET', KEYS[3], ARGV[3]) or ''
if stands == ARGV[5] then return 'done' end
if stands ~= ARGV[4] then return 'changed' end
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[3], ARGV[3])
  redis.call('HDEL', KEYS[4], ARGV[3])
else
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
end
append_events(KEYS[2], KEYS[5], KEYS[6], {{'source', ARGV[6]}})
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 'done'
