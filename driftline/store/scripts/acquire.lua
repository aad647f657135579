-- after happened.lua
-- Takes the lease of a model that nobody else holds. Every taking gets a higher epoch, which fences the former ones: also
-- that of an owner which died and takes it again under its name.
-- KEYS: meta, lease, epoch, head, events, routine    ARGV: owner, dead, max_crashes, token, event, channel, uid
-- `dead` is a holder whose heartbeats have ended, and whose lease counts no more; a lease of a former release, which ran out
-- by itself, counts until then.
-- Answers {epoch, former, crashes}. The epoch is 0 when another owner holds the lease, -1 when the model is gone, and -2 when it
-- is set aside: its turns have ended that many worker processes in a row. `former` is the owner before, if it has not given
-- the lease back; else it is empty. The name stands in `meta`, because the lease itself runs out.
if redis.call('EXISTS', KEYS[1]) == 0 then return {-1, '', 0} end
local known = redis.call('HMGET', KEYS[1], 'owner', 'crashes', 'taken')
local former, crashes = known[1] or '', tonumber(known[2] or '0')
if crashes >= tonumber(ARGV[3]) then return {-2, former, crashes} end
local holder = redis.call('GET', KEYS[2])
local is_free = not holder or holder == ARGV[1] or (holder == ARGV[2] and redis.call('PTTL', KEYS[2]) < 0)
if not is_free then return {0, former, crashes} end
-- A taking whose answer was lost is sent again, and is known by its token: it is told of once.
if known[3] ~= ARGV[4] then append_events(KEYS[4], KEYS[5], KEYS[6], {{'worker', ARGV[5]}}) end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'taken', ARGV[4])
redis.call('SET', KEYS[2], ARGV[1])
-- A former owner that lives still hears that it has lost the model.
redis.call('PUBLISH', ARGV[6], ARGV[7])
return {redis.call('INCR', KEYS[3]), former, crashes}
