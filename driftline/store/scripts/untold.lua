-- Removes what is told of sources that are not configured any more, whatever the caller last saw of that.
-- KEYS: source_specs, source_states    ARGV: names
for _, name in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], name) == 0 then redis.call('HDEL', KEYS[2], name) end
end
