-- Takes a name from the map, if it still stands for this model.    KEYS: names    ARGV: name, uid
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
