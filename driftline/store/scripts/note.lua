-- Sets one field of a hash of a model, if the model is still there: a key of a deleted one would stay for ever.
-- KEYS: meta, hash    ARGV: field, value
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return 1
