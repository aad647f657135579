-- Renews a claim to streams of predictions; else claims those of a replica that has ended, or new ones.
-- KEYS: prediction_streams    ARGV: now, until when the claim lasts, since when an ended replica's streams are gone,
--   the present nonce, token, a fresh nonce
local function parts(value) return value:match('^(%S+) (.*)$') end

local now, gone, nonce, token = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local mine = redis.call('HGET', KEYS[1], nonce)
if not mine or select(2, parts(mine)) ~= token then
    local known, latest = redis.call('HGETALL', KEYS[1]), 0
    for i = 1, #known, 2 do
        local ended = tonumber((parts(known[i + 1])))
        if ended < gone then
            redis.call('HDEL', KEYS[1], known[i])
        elseif ended < now and ended > latest then
            nonce, latest = known[i], ended
        end
    end
    if latest == 0 and mine then nonce = ARGV[6] end
end
redis.call('HSET', KEYS[1], nonce, ARGV[2] .. ' ' .. token)
return nonce
