-- Adds the entries of a call to a stream of the user's, in their order, all or none.
-- KEYS: stream    ARGV: how many of the newest are kept, about; -1: all; then MessagePack of the fields of each entry
local trim = ARGV[1] ~= '-1' and {'MAXLEN', '~', ARGV[1]} or {}
for _, fields in ipairs(cmsgpack.unpack(ARGV[2])) do
  local entry = {KEYS[1], unpack(trim)}
  entry[#entry + 1] = '*'
  for _, each in ipairs(fields) do entry[#entry + 1] = each end
  redis.call('XADD', unpack(entry))
end
return 1
