-- Appends records to one log, in order, each once.
-- KEYS: meta, log, last, head, commands, pending, sources, then one item key a record
-- ARGV: receipt_ms, cap, channel, uid, source, cursor_before, cursor_after, then kind, digest, payload a record
-- Answers 'gone', 'full', 'done' (a resend: the source stands behind this batch), 'moved' (it stands elsewhere),
-- or one {status, n} a record.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local last = tonumber(redis.call('GET', KEYS[3]) or '0')
local offset = tonumber(redis.call('HGET', KEYS[4], 'offset') or '0')
local source = ARGV[5]
if source ~= '' then
  local cursor = redis.call('HGET', KEYS[7], source) or ''
  if cursor == ARGV[7] then return 'done' end
  if cursor ~= ARGV[6] then return 'moved' end
end
local count = #KEYS - 7
local first = 8
if last - offset + count > tonumber(ARGV[2]) then
  -- Only new items meet the cap: a resend of what is there is answered as ever, and commands always pass.
  local new = 0
  for i = 1, count do
    if ARGV[first + 3 * (i - 1)] == 'item' and redis.call('EXISTS', KEYS[7 + i]) == 0 then new = new + 1 end
  end
  if new > 0 and last - offset + new > tonumber(ARGV[2]) then return 'full' end
end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local receipts, before = {}, last
for i = 1, count do
  local kind, digest, payload = ARGV[first + 3 * (i - 1)], ARGV[first + 3 * (i - 1) + 1], ARGV[first + 3 * (i - 1) + 2]
  local seen = redis.call('GET', KEYS[7 + i])
  if seen then
    local n, known = string.match(seen, '^(%d+):(.*)$')
    receipts[i] = {known == digest and 'duplicate' or 'conflict', tonumber(n)}
  else
    last = last + 1
    redis.call('XADD', KEYS[2], last .. '-0', 'd', payload, 't', string.format('%.0f', ms))
    redis.call('SET', KEYS[7 + i], last .. ':' .. digest, 'PX', ARGV[1])
    if kind == 'command' then
      redis.call('ZADD', KEYS[5], last, last)
      redis.call('ZADD', KEYS[6], last, last)
    end
    receipts[i] = {'queued', last}
  end
end
if source ~= '' then redis.call('HSET', KEYS[7], source, ARGV[7]) end
if last > before then
  redis.call('SET', KEYS[3], last)
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return receipts
