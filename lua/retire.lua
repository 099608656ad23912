-- retire: a worker ends; its lease is free at once, and what it may have left behind is cleaned up as of a
-- lost worker.
-- KEYS[1] portfolio-workers:{market}
-- ARGV    worker
-- reply   {"ok"}
-- fence   the lease is given up only where it is this worker's

local workers, me = KEYS[1], ARGV[1]

redis.call('HSET', workers, 'worker:' .. me, '0')
if redis.call('HGET', workers, 'updater') == me then redis.call('HDEL', workers, 'updater', 'updater_until') end
return {'ok'}
