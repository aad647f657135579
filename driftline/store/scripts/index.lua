-- Notes where the newest prediction under each key of a user's own is. Replicas write when they can: what is noted already
-- may be of a later prediction, and stays.
-- KEYS: one a prediction    ARGV: horizon_ms, then the place of each, MS-SEQ:NONCE:ROW
local function order(place)
  local ms, seq, row = string.match(place, '^(%d+)-(%d+):%x+:(%d+)$')
  return {tonumber(ms), tonumber(seq), tonumber(row)}
end
for i, key in ipairs(KEYS) do
  local known, is_later = redis.call('GET', key), false
  if known then
    local former, new = order(known), order(ARGV[i + 1])
    for part = 1, 3 do
      if former[part] ~= new[part] then
        is_later = former[part] > new[part]
        break
      end
    end
  end
  if not is_later then redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
end
return #KEYS
