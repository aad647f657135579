-- Takes or prolongs a claim that nobody else holds.    KEYS: claim    ARGV: owner, ms
-- Answers 1 where it is the owner's now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
