-- after happened.lua
-- Appends records to one log, in order, each once. A pause or resume takes effect at once, whether or not a worker is there: it
-- also sets the flag that a worker reads before it learns anything. The command stands in the log all the same, in order.
-- `kind` is `item`, or that of a command.
-- A fact has one live label: a record that says the same of it is a duplicate, another one a conflict. A revision takes the
-- place of the live one, if that still is the one that its writer has met.
-- KEYS: meta, log, last, head, commands, pending, sources, alarms, events, routine, source_specs, then the item key of each
--       record, then as they come that of its fact where it has another name, and of a revision that of the record that it revises
-- ARGV: receipt_ms, cap_records, cap_bytes, cap_ms, known, channel, uid, source, cursor_before, cursor_after, name, configured,
--       events, count, then two a record: 'KIND DIGEST SAID EXPECTED ID', and its payload. `name` and `configured` are what the
--       source is read by, '' of one of the setting. `events` is one JSON object: the kind and the text
--       of the event of a record, by its place, and of a `source` that is read for the first time. SAID is LABEL[.WEIGHT], or
--       '-' of a command; EXPECTED is '-', or of a revision N.FIRST, the numbers of the live and of the first record, 0 where
--       there is none. ID is given where the fact has another name.
-- What is kept of a record or fact: N:DIGEST[.LABEL[.WEIGHT[.REVISES.FIRST]]][:STATE:REASON]; of a fact the state may be `id`, with
-- the id of its live record.
-- Answers 'gone', 'lost' (the head), 'back LAST KNOWN' (the log ends before a record that the caller knows), 'gap N' (a record
-- that is not learned is missing), 'halted WHY' (its worker has found that), 'full RECORDS BYTES MS' (what waits), 'done' (a
-- resend: the source has been read past this batch), 'moved' (it stands elsewhere), 'changed' (it is configured otherwise by
-- now: who reads it by what it was must not move it), 'conflicts I…' (of a source: the places of
-- records whose ids or facts stand for another content; nothing was appended), or one {status, n} a record; the status `moved`
-- is of a revision whose fact has another live record than it expects, and of what follows it of the same fact.
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
  if ARGV[12] ~= '' and redis.call('HGET', KEYS[11], ARGV[11]) ~= ARGV[12] then return 'changed' end
  local cursor = redis.call('HGET', KEYS[7], source) or ''
  if cursor == ARGV[10] then return 'done' end
  if cursor ~= ARGV[9] then return 'moved' end
end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local bytes = newest and field(newest, 'b') or learned_bytes
local count, records, others = tonumber(ARGV[14]), {}, 11 + tonumber(ARGV[14])
local function other()
  others = others + 1
  return KEYS[others]
end
for i = 1, count do
  local kind, digest, said, expected, id = string.match(ARGV[13 + 2 * i], '^(%S+) (%x+) (%S+) (%S+) (.*)$')
  local item = KEYS[11 + i]
  records[i] = {kind = kind, digest = digest, said = said ~= '-' and said or '', expected = expected, item = item,
    fact = id ~= '' and other() or item, former = expected ~= '-' and other(), id = id, payload = ARGV[14 + 2 * i]}
end
local function known(key)
  local n, digest, said, rest = string.match(redis.call('GET', key) or '', '^(%d+):(%x+)%.?([%.%x]*):?(.*)$')
  if not n then return nil end
  local label, weight = string.match(said, '^(%x*)%.?(%x*)')
  return {n = tonumber(n), digest = digest, label = label, said = weight == '' and label or label .. '.' .. weight, rest = rest}
end
-- What a record is: a status, the number that it is about, and the live record of its fact where its id is not known yet;
-- nothing where it is new.
local function judged(i)
  local record = records[i]
  local item, fact, said, expected = record.item, record.fact, record.said, record.expected
  local own = known(item)
  if own and own.digest == record.digest then return 'duplicate', own.n end
  local live = own
  if item ~= fact then live = known(fact) end
  -- A name that stands for the record of another id is of no record of its own.
  if own and string.match(own.rest, '^id:') then own = nil end
  if own and not (live and live.n == own.n) then return 'conflict', own.n end
  if not live then return nil end
  -- What was erased is not brought back by a correction that was on its way, nor learned again.
  if string.match(live.rest, '^forgotten:') then return 'conflict', live.n end
  if expected == '-' then
    local is_same = not own and live.label ~= '' and live.label == string.match(said, '^%x*')
    return is_same and 'duplicate' or 'conflict', live.n, is_same and live
  end
  if live.said ~= '' and live.said == said then return 'duplicate', live.n, not own and live end
  if string.match(expected, '^%d*') ~= string.format('%.0f', live.n) then return 'moved', live.n end
  return nil
end
if source ~= '' then
  -- Before the position moves, its reader must know which of its records will not be taken.
  local digests, labels, conflicts = {}, {}, {}
  for i = 1, count do
    local record, status = records[i], judged(i)
    local item, fact, digest, label = record.item, record.fact, record.digest, string.match(record.said, '^%x*')
    if not status and digests[item] ~= digest then
      if digests[item] or (labels[fact] and labels[fact] ~= label) then status = 'conflict' end
      digests[item], labels[fact] = digests[item] or digest, labels[fact] or label
    end
    if status == 'conflict' then conflicts[#conflicts + 1] = i end
  end
  if #conflicts > 0 then return 'conflicts ' .. table.concat(conflicts, ' ') end
end
-- Only new items meet the cap: a resend of what is there is answered as ever, and commands always pass.
local new, new_bytes = 0, 0
for i = 1, count do
  if records[i].kind == 'item' and not judged(i) then
    new, new_bytes = new + 1, new_bytes + #records[i].payload
  end
end
local waited = last > offset and math.max(0, ms - field(oldest, 't')) or 0
local is_full = last - offset + new > tonumber(ARGV[2])
  or bytes - learned_bytes + new_bytes > tonumber(ARGV[3]) or waited > tonumber(ARGV[4])
if new > 0 and is_full then
  return string.format('full %.0f %.0f %.0f', last - offset, bytes - learned_bytes, waited)
end

local receipts, before, happened, held = {}, last, {}, {}
local events = ARGV[13] == '' and {} or cjson.decode(ARGV[13])
for i = 1, count do
  local record = records[i]
  local item, fact, kind, digest, payload = record.item, record.fact, record.kind, record.digest, record.payload
  local said, expected = record.said, record.expected
  local status, n, live = judged(i)
  -- What comes after a revision that has to be made again comes after it then, too.
  if held[fact] then status, n, live = 'moved', held[fact], nil end
  if status then
    receipts[i] = {status, n}
    if status == 'moved' then held[fact] = n end
    if status == 'duplicate' and live then
      -- The id goes by that of the live record from now on: whoever sent it may ask for it.
      local name = string.match(live.rest, '^id:(.*)$') or string.sub(fact, #item - #record.id + 1)
      redis.call('SET', item, string.format('%.0f:', n) .. digest .. '.' .. said .. ':id:' .. name, 'PX', ARGV[1])
    end
  else
    last, bytes = last + 1, bytes + #payload
    redis.call('XADD', KEYS[2], last .. '-0', 'd', payload, 't', string.format('%.0f', ms), 'b', string.format('%.0f', bytes))
    local kept = last .. ':' .. digest .. (said ~= '' and '.' .. said or '')
    if expected ~= '-' and expected ~= '0' then
      kept = kept .. (string.find(said, '.', 1, true) and '.' or '..') .. expected
      local revised = redis.call('GET', record.former)
      if record.former ~= item and revised then
        redis.call('SET', record.former, string.match(revised, '^%d+:[%x.]+') .. ':revised:' .. last, 'KEEPTTL')
      end
    end
    redis.call('SET', item, kept, 'PX', ARGV[1])
    if fact ~= item then redis.call('SET', fact, kept .. ':id:' .. record.id, 'PX', ARGV[1]) end
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
