-- after happened.lua
-- Appends records to one log, in order, each once. A pause or resume takes effect at once, whether or not a worker is there: it
-- also sets the flag that a worker reads before it learns anything. The command stands in the log all the same, in order.
-- `kind` is `item`, or that of a command.
-- KEYS: meta, log, last, head, commands, pending, sources, alarms, events, routine, then one item key a record
-- ARGV: receipt_ms, cap_records, cap_bytes, cap_ms, known, channel, uid, source, cursor_before, cursor_after, events, then kind,
--       digest, payload a record. `events` is one JSON object: the kind and the text of the event of a record, by its
--       place, and of a `source` that is read for the first time.
-- Answers 'gone', 'lost' (the head), 'back LAST KNOWN' (the log ends before a record that the caller knows), 'gap N' (a record
-- that is not learned is missing), 'halted WHY' (its worker has found that), 'full RECORDS BYTES MS' (what waits), 'done' (a
-- resend: the source has been read past this batch), 'moved' (it stands elsewhere), 'conflicts I…' (of a source: the places of
-- records whose ids stand for another content; nothing was appended), or one {status, n} a record.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local head = redis.call('HMGET', KEYS[4], 'offset', 'bytes')
local offset, learned_bytes = tonumber(head[1]), tonumber(head[2]) or 0
if not offset then return 'lost' end
local last = tonumber(redis.call('GET', KEYS[3]) or '0')
local function number(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function field(entry, name)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == name then return tonumber(entry[2][i + 1]) end
  end
end

-- A log is whole: it ends where its count does, not before what is learned, and holds the next record to learn.
local known = math.max(offset, tonumber(ARGV[5]))
if last < known then return 'back ' .. last .. ' ' .. known end
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local oldest = redis.call('XRANGE', KEYS[2], (offset + 1) .. '-0', '+', 'COUNT', 1)[1]
if last > offset and not (oldest and number(oldest) == offset + 1) then return 'gap ' .. offset + 1 end
if newest and number(newest) ~= last then return 'gap ' .. last end
for _, alarm in ipairs(redis.call('HMGET', KEYS[8], 'log_gap', 'store_lost')) do
  if alarm then return 'halted ' .. cjson.decode(alarm).message end
end

local source = ARGV[8]
if source ~= '' then
  local cursor = redis.call('HGET', KEYS[7], source) or ''
  if cursor == ARGV[10] then return 'done' end
  if cursor ~= ARGV[9] then return 'moved' end
end
local count, first = #KEYS - 10, 12
if source ~= '' then
  -- Before the position moves, its reader must know which of its records will not be taken.
  local marks, conflicts = {}, {}
  for i = 1, count do
    local key, digest = KEYS[10 + i], ARGV[first + 3 * (i - 1) + 1]
    local mark = marks[key] or string.match(redis.call('GET', key) or '', '^%d+:(%x+)')
    if mark and mark ~= digest then conflicts[#conflicts + 1] = i end
    marks[key] = mark or digest
  end
  if #conflicts > 0 then return 'conflicts ' .. table.concat(conflicts, ' ') end
end

local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local bytes = newest and field(newest, 'b') or learned_bytes
-- Only new items meet the cap: a resend of what is there is answered as ever, and commands always pass.
local new, new_bytes = 0, 0
for i = 1, count do
  if ARGV[first + 3 * (i - 1)] == 'item' and redis.call('EXISTS', KEYS[10 + i]) == 0 then
    new, new_bytes = new + 1, new_bytes + #ARGV[first + 3 * (i - 1) + 2]
  end
end
local waited = last > offset and math.max(0, ms - field(oldest, 't')) or 0
local is_full = last - offset + new > tonumber(ARGV[2])
  or bytes - learned_bytes + new_bytes > tonumber(ARGV[3]) or waited > tonumber(ARGV[4])
if new > 0 and is_full then
  return string.format('full %.0f %.0f %.0f', last - offset, bytes - learned_bytes, waited)
end

local receipts, before, happened = {}, last, {}
local events = ARGV[11] == '' and {} or cjson.decode(ARGV[11])
for i = 1, count do
  local kind, digest, payload = ARGV[first + 3 * (i - 1)], ARGV[first + 3 * (i - 1) + 1], ARGV[first + 3 * (i - 1) + 2]
  local n, mark = string.match(redis.call('GET', KEYS[10 + i]) or '', '^(%d+):(%x+)')
  if n then
    receipts[i] = {mark == digest and 'duplicate' or 'conflict', tonumber(n)}
  else
    last, bytes = last + 1, bytes + #payload
    redis.call('XADD', KEYS[2], last .. '-0', 'd', payload, 't', string.format('%.0f', ms), 'b', string.format('%.0f', bytes))
    redis.call('SET', KEYS[10 + i], last .. ':' .. digest, 'PX', ARGV[1])
    if kind ~= 'item' then
      redis.call('ZADD', KEYS[5], last, last)
      redis.call('ZADD', KEYS[6], last, last)
    end
    if kind == 'pause' or kind == 'resume' then
      redis.call('HSET', KEYS[1], 'paused', kind == 'pause' and 1 or 0, 'paused_by', last)
    end
    -- What may mend a model that was set aside lets the workers try it again.
    if kind == 'resume' or kind == 'rollback' or kind == 'recipe' or kind == 'retrain' then
      redis.call('HDEL', KEYS[1], 'crashes')
    end
    happened[#happened + 1] = events[tostring(i)]
    receipts[i] = {'queued', last}
  end
end
if source ~= '' then
  -- It had no position: it is read for the first time.
  if ARGV[9] == '' then happened[#happened + 1] = events.source end
  redis.call('HSET', KEYS[7], source, ARGV[10])
end
append_events(KEYS[4], KEYS[9], KEYS[10], happened)
if last > before then
  redis.call('SET', KEYS[3], last)
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
return receipts
