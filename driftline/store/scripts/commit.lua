-- after happened.lua
-- Commits one step: appends it and moves the head, if the owner is still the owner and the step is the next one.
-- All of it or nothing: a script is never cut off, so that no reader and no crash meets a head without its step, a version
-- without its head, or a job without its outcome. What it names in files is there already (worker/committer.py says why).
-- KEYS: meta, epoch, head, steps, versions, coverage, pending, jobs, ended, progress, metrics, log, events, routine,
--       alarms, over, acknowledged, minutes, hours, rejected, checkpoints, then the item key of each rejected label, and
--       of each that is released
-- ARGV: one JSON object (see driftline/store/commits.py, Commit), channel, uid, keep_jobs, how many rejected labels are kept
-- Answers 'ok', 'gone', 'fenced', or 'out_of_order'.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
local c = cjson.decode(ARGV[1])
-- An owner that was silent while another took over must change nothing: the epoch is checked before anything else.
if redis.call('GET', KEYS[2]) ~= c.epoch then return 'fenced' end
local head = redis.call('HMGET', KEYS[3], 'step', 'offset', 'token')
-- A commit whose answer was lost is sent again: it is known by its token, before its step would be out of order.
if head[3] == c.token then return 'ok' end
if tonumber(head[1]) ~= c.step - 1 or tonumber(head[2]) ~= c.from then return 'out_of_order' end
redis.call('XADD', KEYS[4], c.step .. '-0', 's', c.record)
redis.call('HSET', KEYS[3], 'step', c.step, 'offset', c.to, 'epoch', c.epoch, 'token', c.token)
redis.call('HINCRBY', KEYS[3], 'learned', c.learned)
-- Each record says how many bytes of records there are up to it.
local newest = redis.call('XRANGE', KEYS[12], c.to .. '-0', c.to .. '-0')[1]
for i = 1, newest and #newest[2] or 0, 2 do
  if newest[2][i] == 'b' then redis.call('HSET', KEYS[3], 'bytes', newest[2][i + 1]) end
end
if c.ends_canary or (c.version and not c.share) then redis.call('HDEL', KEYS[3], 'canary', 'canary_manifest', 'share') end
if c.version then
  redis.call('HSET', KEYS[3], 'newest', c.version)
  redis.call('HSET', KEYS[5], c.version, c.summary)
end
if c.share then
  redis.call('HSET', KEYS[3], 'canary', c.version, 'canary_manifest', c.manifest, 'share', c.share)
elseif c.version then
  redis.call('HSET', KEYS[3], 'version', c.version, 'manifest', c.manifest)
  -- Of several versions at one offset the first covers it.
  if redis.call('ZCOUNT', KEYS[6], c.covers, '+inf') == 0 then redis.call('ZADD', KEYS[6], c.covers, c.version) end
  redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -10001)
end
-- A learner to which no step leads brings its checkpoint. What has learned the records from number `first` on goes: versions and
-- checkpoints.
local replaced = c.replacement
if replaced then
  redis.call('HSET', KEYS[3], 'checkpoint', replaced.checkpoint, 'checkpoint_step', c.step, 'checkpoint_offset', c.to,
    'checkpoint_time', redis.call('TIME')[1], 'older_checkpoint', '', 'older_step', 0, 'older_offset', 0)
  redis.call('ZREMRANGEBYSCORE', KEYS[21], replaced.first, '+inf')
  for _, version in ipairs(replaced.retired) do redis.call('HDEL', KEYS[5], version) end
end
if c.spec then redis.call('HSET', KEYS[1], 'spec', c.spec) end
-- The flag was set when the command was appended: one that was appended since has set it otherwise.
if c.paused and (c.command or 0) >= tonumber(redis.call('HGET', KEYS[1], 'paused_by') or '0') then
  redis.call('HSET', KEYS[1], 'paused', c.paused)
end
-- The model makes progress: its turns do not end every worker that takes it.
redis.call('HDEL', KEYS[1], 'crashes')
if c.command then redis.call('ZREM', KEYS[7], c.command) end
-- Why a record was not learned stands in its receipt, and expires with it; and among the newest such labels.
for i, label in ipairs(c.rejected) do
  local key = KEYS[21 + i]
  local receipt, n = string.match(redis.call('GET', key) or '', '^((%d+):[%x.]+)')
  if receipt and tonumber(n) == label[1] then redis.call('SET', key, receipt .. ':' .. label[2], 'KEEPTTL') end
  redis.call('ZADD', KEYS[20], label[1], label[3])
end
redis.call('ZREMRANGEBYRANK', KEYS[20], 0, -1 - tonumber(ARGV[5]))
for i, n in ipairs(c.released or {}) do
  local key = KEYS[21 + #c.rejected + i]
  local receipt, known = string.match(redis.call('GET', key) or '', '^((%d+):[%x.]+)')
  if receipt and tonumber(known) == n then redis.call('SET', key, receipt, 'KEEPTTL') end
  redis.call('ZREMRANGEBYSCORE', KEYS[20], n, n)
end
for id, state in pairs(c.jobs) do
  redis.call('HSET', KEYS[8], id, state)
  redis.call('HDEL', KEYS[10], id)
  if cjson.decode(state).state ~= 'running' then redis.call('ZADD', KEYS[9], c.step, id) end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[9], 0, -1 - tonumber(ARGV[4]))) do
  redis.call('HDEL', KEYS[8], id)
  redis.call('ZREM', KEYS[9], id)
end
if c.metrics then redis.call('SET', KEYS[11], c.metrics) end
for _, kind in ipairs(c.over) do end_alarm(KEYS[15], KEYS[16], KEYS[17], kind) end
for _, alarm in ipairs(c.alarms) do raise_alarm(KEYS[15], KEYS[16], KEYS[17], alarm[1], alarm[2]) end
-- A bucket is written whole: what was there of it is in what takes its place.
for _, bucket in ipairs(c.buckets) do
  local key = bucket[1] == 'minutes' and KEYS[18] or KEYS[19]
  redis.call('ZREMRANGEBYSCORE', key, bucket[2], bucket[2])
  redis.call('ZADD', key, bucket[2], bucket[3])
end
append_events(KEYS[3], KEYS[13], KEYS[14], c.events)
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 'ok'
