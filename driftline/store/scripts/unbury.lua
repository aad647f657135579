-- Takes records off the list of those that a source could not take. KEYS: dead, dead_order, dead_counts    ARGV: ids
-- Answers how many are left.
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', KEYS[2], id) == 1 then
    redis.call('HINCRBY', KEYS[3], '#bytes', -redis.call('HSTRLEN', KEYS[1], id))
    redis.call('HDEL', KEYS[1], id)
  end
end
return redis.call('ZCARD', KEYS[2])
