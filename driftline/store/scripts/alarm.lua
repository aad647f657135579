-- after happened.lua
-- Raises an alarm outside of a step, if the model is still there. It is an event where none of its kind stands that nobody has
-- seen yet: what happens again and again is told of once. The same one again, a resend, changes nothing.
-- KEYS: meta, head, alarms, over, acknowledged, events, routine    ARGV: channel, uid, kind, alarm, event
-- Answers 1 where it is an event, else 0.
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4] then return 0 end
local is_new = redis.call('HEXISTS', KEYS[3], ARGV[3]) == 0 or redis.call('HEXISTS', KEYS[5], ARGV[3]) == 1
raise_alarm(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[4])
if is_new then append_events(KEYS[2], KEYS[6], KEYS[7], {{'alarm', ARGV[5]}}) end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return is_new and 1 or 0
