-- Takes the lease of a model that nobody else holds. Every taking gets a higher epoch, which fences the former ones: also
-- that of an owner which died and takes it again under its name.
-- KEYS: meta, lease, epoch    ARGV: owner, lease_ms
-- Answers the epoch, or 0 when another owner holds the lease, or -1 when the model is gone.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[3])
