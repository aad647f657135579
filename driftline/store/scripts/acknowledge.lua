-- after happened.lua
-- Notes who has seen the alarm of a kind that stands; whoever was first stays.
-- KEYS: meta, head, alarms, over, acknowledged, events, routine    ARGV: channel, uid, kind, who, event
-- Answers who has acknowledged it; nothing where no alarm of the kind stands.
if redis.call('HEXISTS', KEYS[3], ARGV[3]) == 0 then return false end
if redis.call('HSETNX', KEYS[5], ARGV[3], ARGV[4]) == 1 then
  append_events(KEYS[2], KEYS[6], KEYS[7], {{'alarm_acknowledged', ARGV[5]}})
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return redis.call('HGET', KEYS[5], ARGV[3])
