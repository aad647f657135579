-- Reserves what a model takes of what its maker's models, and all of them, may take together; see driftline/store/model_prices.py.
-- KEYS: model_prices    ARGV: uid, maker, bytes, whether it is only asked for (1, else 0), then the most: models of a maker, bytes
-- of these, bytes of all models; below 0: any
-- Answers nothing; or the place of what there would be too much of, and how much that is. What does not grow always fits. Sent
-- twice it reserves the same.
local uid, maker, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local kept, before = redis.call('HGET', KEYS[1], uid), -1
if kept then
  before, maker = kept:match('^(%d+) (.*)$')
  before = tonumber(before)
end
local asked = {1, bytes, bytes}
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  if all[at] ~= uid then
    local size, made_by = all[at + 1]:match('^(%d+) (.*)$')
    asked[3] = asked[3] + size
    if made_by == maker then asked[1], asked[2] = asked[1] + 1, asked[2] + size end
  end
end
if bytes > before then
  for place = kept and 2 or 1, 3 do
    local most = tonumber(ARGV[4 + place])
    if most >= 0 and asked[place] > most then return {place, string.format('%.0f', asked[place])} end
  end
end
if ARGV[4] == '0' then redis.call('HSET', KEYS[1], uid, string.format('%.0f %s', bytes, maker)) end
return {}
