-- publish_tick: the worker that updates the market shares a new tick with all.
-- KEYS    portfolio-workers:{market}, portfolio-tick:{market}
-- ARGV    worker, tick_id, tick (JSON text), channel (on which the tick_id is published)
-- reply   {"ok"}
--         {"not_updater"}: another worker holds the lease, or it has expired; nothing changed
--         {"stale", tick_id}: there already is this tick or a newer one; nothing changed
-- fence   the lease and the tick_id: of two workers that believe they hold the lease, one is refused, and an older tick
--         never replaces a newer one
-- include prelude.lua

local workers, tick, me, tick_id = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

local held = redis.call('HMGET', workers, 'updater', 'updater_until')
if held[1] ~= me or tonumber(held[2]) <= now_ms() then return {'not_updater'} end
local newest = redis.call('HGET', tick, 'tick_id')
if newest and tonumber(newest) >= tonumber(tick_id) then return {'stale', newest} end

redis.call('HSET', tick, 'tick_id', tick_id, 'tick', ARGV[3])
redis.call('PUBLISH', ARGV[4], tick_id)
return {'ok'}
