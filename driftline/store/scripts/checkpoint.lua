-- Names the newest checkpoint, and trims what no recovery and no retraining needs any more.
-- KEYS: epoch, head, log, steps, commands, pending, last, checkpoints
-- ARGV: epoch, manifest, step, offset, log_keep
-- Answers 'ok', 'fenced', or 'out_of_order': the head is gone, or lies before the checkpoint.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'fenced' end
local head = redis.call('HMGET', KEYS[2], 'checkpoint', 'checkpoint_step', 'checkpoint_offset', 'step',
  'older_checkpoint', 'older_step', 'older_offset')
if head[1] == ARGV[2] then return 'ok' end
if not head[4] or tonumber(head[4]) < tonumber(ARGV[3]) then return 'out_of_order' end
-- Retention says which former ones are kept.
if head[5] and head[5] ~= '' then
  local former = string.format('{"manifest":"%s","step":%s,"offset":%s}', head[5], head[6], head[7])
  redis.call('ZADD', KEYS[8], head[7], former)
end
local older_step, older_offset = tonumber(head[2] or '0'), tonumber(head[3] or '0')
redis.call('HSET', KEYS[2], 'older_checkpoint', head[1] or '', 'older_step', older_step, 'older_offset', older_offset,
  'checkpoint', ARGV[2], 'checkpoint_step', ARGV[3], 'checkpoint_offset', ARGV[4], 'checkpoint_time', redis.call('TIME')[1])
local floor = math.min(older_offset, tonumber(redis.call('GET', KEYS[7]) or '0') - tonumber(ARGV[5]))
local pending = redis.call('ZRANGE', KEYS[6], 0, 0)
if pending[1] then floor = math.min(floor, tonumber(pending[1]) - 1) end
if floor > 0 then
  redis.call('XTRIM', KEYS[3], 'MINID', (floor + 1) .. '-0')
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', floor)
end
local step_floor = math.min(older_step, tonumber(ARGV[3]) - 1000)
if step_floor > 0 then redis.call('XTRIM', KEYS[4], 'MINID', (step_floor + 1) .. '-0') end
return 'ok'
