-- Appends events to those of a model, numbered densely over both streams. An entry's id is `ms-n`: ordered, and found by
-- time. A clock that was set back gives no earlier time than the last event's. Versions and refusals, which are many, stand
-- in a stream of their own, so that they push out no other event.
local ROUTINE = {version = true, refusal = true}
local function append_events(head, events, routine, happened)
  if #happened == 0 then return end
  local known, now = redis.call('HMGET', head, 'events', 'event_ms'), redis.call('TIME')
  local n, ms = tonumber(known[1] or '0'), math.max(tonumber(known[2] or '0'), now[1] * 1000 + math.floor(now[2] / 1000))
  for _, event in ipairs(happened) do
    n = n + 1
    local stream = ROUTINE[event[1]] and routine or events
    redis.call('HINCRBY', head, 'events:' .. event[1], 1)
    redis.call('XADD', stream, string.format('%.0f-%.0f', ms, n), 'k', event[1], 'e', event[2])
  end
  redis.call('HSET', head, 'events', string.format('%.0f', n), 'event_ms', string.format('%.0f', ms))
end

-- An alarm stands in `alarms` until it is over. Then the newest of its kind stands in `over`, with who had acknowledged it.
-- Texts are joined, never read and written again: Lua would make an object of an empty list.
local function raise_alarm(alarms, over, acknowledged, kind, text)
  redis.call('HSET', alarms, kind, text)
  redis.call('HDEL', over, kind)
  redis.call('HDEL', acknowledged, kind)
end
local function end_alarm(alarms, over, acknowledged, kind)
  local alarm = redis.call('HGET', alarms, kind)
  if not alarm then return false end
  local now, seen = redis.call('TIME'), redis.call('HGET', acknowledged, kind)
  local ended = string.format('{"ended":%.3f,"alarm":%s', now[1] + now[2] / 1e6, alarm)
  redis.call('HSET', over, kind, ended .. (seen and ',"acknowledged":' .. seen or '') .. '}')
  redis.call('HDEL', alarms, kind)
  redis.call('HDEL', acknowledged, kind)
  return true
end
