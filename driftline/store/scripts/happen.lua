-- after happened.lua
-- Appends an event of the instance, once by its item key, which expires.
-- KEYS: head, events, routine, item    ARGV: channel, uid, kind, event
if redis.call('SET', KEYS[4], 1, 'NX', 'EX', 86400) then
  append_events(KEYS[1], KEYS[2], KEYS[3], {{ARGV[3], ARGV[4]}})
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return 1
