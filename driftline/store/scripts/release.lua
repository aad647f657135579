-- Gives a lease back.    KEYS: meta, lease    ARGV: owner
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
-- Also of a lease that has run out: an owner that ends in order has not died in a turn.
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('HDEL', KEYS[1], 'owner') end
return 1
