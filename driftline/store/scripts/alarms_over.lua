-- after happened.lua
-- Ends those of some alarms that stand.
-- KEYS: meta, head, alarms, over, acknowledged, events, routine    ARGV: channel, uid, then kind, event of each
-- Answers the kinds of those that it has ended.
local happened, kinds = {}, {}
for i = 3, #ARGV, 2 do
  if end_alarm(KEYS[3], KEYS[4], KEYS[5], ARGV[i]) then
    happened[#happened + 1], kinds[#kinds + 1] = {'alarm_over', ARGV[i + 1]}, ARGV[i]
  end
end
if #happened > 0 then
  append_events(KEYS[2], KEYS[6], KEYS[7], happened)
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return kinds
