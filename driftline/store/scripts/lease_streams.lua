-- Leases open streams of a caller.    KEYS: open_streams of it    ARGV: the most that it may have, -1: any; seconds; streams
-- Answers 1, or 0 where there are as many already. Sent twice it finds the stream of the first time, and leases that.
local time = redis.call('TIME')
local now, most = time[1] + time[2] / 1e6, tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local is_known = redis.call('ZSCORE', KEYS[1], ARGV[3])
if most >= 0 and not is_known and redis.call('ZCARD', KEYS[1]) >= most then return 0 end
for at = 3, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[at])
end
redis.call('EXPIRE', KEYS[1], 3600)
return 1
