-- Prolongs a lease. An owner that was silent for too long keeps it when nobody has taken over.
-- KEYS: meta, lease, epoch    ARGV: owner, lease_ms, epoch
-- Answers 1, or 0 when another owner has taken over or the model is gone.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
