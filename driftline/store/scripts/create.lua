-- after happened.lua
-- Writes a model with its version 1. It is invisible until it has its name (driftline/store/catalog.py).
-- KEYS: meta, head, versions, coverage, events, routine, checkpoints
-- ARGV: one JSON object of the fields of meta, one of those of head, version 1, the event
if redis.call('EXISTS', KEYS[2]) == 1 then return 'ok' end
for field, value in pairs(cjson.decode(ARGV[1])) do redis.call('HSET', KEYS[1], field, value) end
for field, value in pairs(cjson.decode(ARGV[2])) do redis.call('HSET', KEYS[2], field, value) end
redis.call('HSET', KEYS[3], '1', ARGV[3])
redis.call('ZADD', KEYS[4], 0, '1')
-- The very beginning, to which learning can go back while the log holds all that has come.
redis.call('ZADD', KEYS[7], 0, string.format('{"manifest":"%s","step":0,"offset":0}', cjson.decode(ARGV[3]).manifest))
append_events(KEYS[2], KEYS[5], KEYS[6], {{'created', ARGV[4]}})
return 'ok'
