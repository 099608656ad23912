-- retire: a worker ends; its lease is free at once, and its runs and sockets are cleaned up like those of a
-- lost worker.
-- KEYS[1] portfolio-workers:{market}
-- ARGV    worker
-- reply   {"ok"}
-- fence   the lease is given up only if this worker holds it

local workers, me = KEYS[1], ARGV[1]

redis.call('HSET', workers, 'worker:' .. me, '0')
if redis.call('HGET', workers, 'updater') == me then redis.call('HDEL', workers, 'updater', 'updater_until') end
return {'ok'}
