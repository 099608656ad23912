-- heartbeat: records that a worker is alive, and renews or takes the lease of the market's updater.
-- KEYS    portfolio-workers:{market}, portfolio-tick:{market}
-- ARGV    worker, ttl_ms (how long it counts as alive), lease_ms (how long it may update the market), source
--         (the name of its prices)
-- reply   {"ok", "1" if it may update the market, "1" if it counted as alive until now, tick_id of the newest
--         tick ("" for none), lost worker ...}
--         {"other_source", source}: live workers have other prices; nothing changed
-- fence   the lease goes to another worker only after it has expired, by the clock of this server alone
-- include prelude.lua

local workers, tick, me, source = KEYS[1], KEYS[2], ARGV[1], ARGV[4]
local now = now_ms()

local held, lost, known, alone = {}, {}, '0', true
local entries = redis.call('HGETALL', workers)
for index = 1, #entries, 2 do
  local name, value = entries[index], entries[index + 1]
  local worker = string.match(name, '^worker:(.+)$')
  local living = worker and tonumber(value) > now
  if not worker then held[name] = value
  elseif worker == me then known = flag(living)
  elseif living then alone = false
  else lost[#lost + 1] = worker end
end
if not alone and held.source and held.source ~= source then return {'other_source', held.source} end

local free = tonumber(held.updater_until or 0) <= now
local leads = held.updater == me or free
redis.call('HSET', workers, 'source', source, 'worker:' .. me, integer(now + ARGV[2]))
if leads then redis.call('HSET', workers, 'updater', me, 'updater_until', integer(now + ARGV[3])) end

local answer = {'ok', flag(leads), known, redis.call('HGET', tick, 'tick_id') or ''}
for _, worker in ipairs(lost) do answer[#answer + 1] = worker end
return answer
