-- Keeps records that a source cannot take, each once by its id, and the newest of them, as many and as large as there is room for.
-- KEYS: meta, dead, dead_order, dead_counts    ARGV: max_count, max_bytes, then id, source, letter of each
-- `dead_counts` counts by source those that ever came, under '#n' how many came in all, and under '#bytes' what they take.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local function bytes(size) return redis.call('HINCRBY', KEYS[4], '#bytes', size) end
local taken = tonumber(redis.call('HGET', KEYS[4], '#bytes') or '0')
for i = 3, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 2]) == 1 then
    redis.call('ZADD', KEYS[3], redis.call('HINCRBY', KEYS[4], '#n', 1), ARGV[i])
    redis.call('HINCRBY', KEYS[4], ARGV[i + 1], 1)
    taken = bytes(#ARGV[i + 2])
  end
end
while redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[1]) or (taken > tonumber(ARGV[2]) and redis.call('ZCARD', KEYS[3]) > 1) do
  local id = redis.call('ZPOPMIN', KEYS[3])[1]
  taken = bytes(-redis.call('HSTRLEN', KEYS[2], id))
  redis.call('HDEL', KEYS[2], id)
end
return redis.call('ZCARD', KEYS[3])
