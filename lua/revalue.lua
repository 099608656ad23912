-- revalue: updates total_value to the prices of a tick, and removes lost workers.
-- KEYS    portfolio:{<session_id>}, one or more (exactly one on a cluster)
-- ARGV    tick_id, as_of (RFC 3339), prices (JSON text {"AAPL":190.5}), lost worker ...
-- reply   one list per key, in the order of KEYS:
--         {"ok", old total_value, new total_value} as JSON text
--         {"stale", tick_id}: already valued at this tick or a newer one
--         {"missing_prices", ticker, ...}: held, but not among the prices; {"overflow"}, {"missing"},
--         {"wrong_type"}: nothing changed
-- fence   valued.tick_id: an older or equal tick never overwrites. Neither the time to live nor
--         last_activity is touched: the market does not keep sessions alive
-- include prelude.lua

local tick_id, as_of, prices = tonumber(ARGV[1]), ARGV[2], prices_by_ticker(ARGV[3])
local valuation = valued(ARGV[1], as_of)

local lost = {}
for index = 4, #ARGV do lost[ARGV[index]] = true end

-- Ends the current run if it belongs to a lost worker, and removes lost workers from the attached ones.
local function clear_lost(key)
  local reply = read(
    key, '$.current_analysis.worker', '$.current_analysis.run_id', '$.attached', '$.run_ends')
  if not reply then return end
  local worker = string.match(field(reply, '$.current_analysis.worker') or '', '"([^"]+)"')
  local run_id = whole(reply, '$.current_analysis.run_id')
  if worker and lost[worker] and run_id then
    redis.call('JSON.MSET',
      key, '$.current_analysis', 'null',
      key, '$.run_ends', with_end(field(reply, '$.run_ends'), run_id, cancelled('disconnected'), false))
  end
  local all, living = with_others({}, reply, ''), {}
  for _, name in ipairs(all) do
    if not lost[name] then living[#living + 1] = name end
  end
  if #living < #all then redis.call('JSON.SET', key, '$.attached', names(living)) end
end

local function revalue(key)
  if #ARGV > 3 then clear_lost(key) end
  local reply, status = read(key, '$.holdings', '$.total_value', '$.valued.tick_id')
  if status then return {status} end
  local holdings, old = field(reply, '$.holdings'), number(reply, '$.total_value')
  local newest = whole(reply, '$.valued.tick_id')
  if not (holdings and old and newest) then return {'wrong_type'} end
  if tonumber(newest) >= tick_id then return {'stale', newest} end

  local total, refusal = value_of(holdings, prices)
  if not total then return refusal end
  redis.call('JSON.MSET', key, '$.total_value', total, key, '$.valued', valuation)
  return {'ok', old, total}
end

local replies = {}
for index, key in ipairs(KEYS) do replies[index] = revalue(key) end
return replies
