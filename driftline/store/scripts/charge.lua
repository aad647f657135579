-- Charges callers for what a replica let them have.    KEYS: charges    ARGV: seconds of a burst, then field, rate and amount of each
-- Answers what each bucket has left: less than nothing where replicas together let through more than there was. One that is not
-- there is full. Sent twice it charges twice, for what was taken between two calls: a fraction of a second.
local time = redis.call('TIME')
local now, left = time[1] + time[2] / 1e6, {}
for at = 2, #ARGV, 3 do
  local rate = tonumber(ARGV[at + 1])
  local level, most = rate * ARGV[1], rate * ARGV[1]
  local kept = redis.call('HGET', KEYS[1], ARGV[at])
  if kept then
    local was, since = kept:match('(%S+) (%S+)')
    level = math.min(most, was + math.max(0, now - since) * rate)
  end
  level = level - ARGV[at + 2]
  redis.call('HSET', KEYS[1], ARGV[at], string.format('%.3f %.6f', level, now))
  left[#left + 1] = string.format('%.3f', level)
end
redis.call('EXPIRE', KEYS[1], 3600)
return left
