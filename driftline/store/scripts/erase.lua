-- Takes what was said out of what is known of records and facts, so that a resend is known and nothing of the label is left.
-- KEYS: meta, then the item key of each    ARGV: the number of the record that each stands for
-- A key that stands for another record by now stays. Answers how many were changed.
local changed = 0
for i = 2, #KEYS do
  local kept = redis.call('GET', KEYS[i]) or ''
  local n, digest = string.match(kept, '^(%d+):(%x+)')
  if n == ARGV[i - 1] then
    redis.call('SET', KEYS[i], n .. ':' .. digest .. ':forgotten:it was erased', 'KEEPTTL')
    changed = changed + 1
  end
end
return changed
