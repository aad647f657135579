-- Keeps labels that wait for their predictions, each once by its id, if the model is still there.
-- KEYS: meta, waiting    ARGV: id, label of each
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 1, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
