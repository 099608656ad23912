-- start_analysis: hands out the next run_id and makes that run the current one.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    ticker, now (RFC 3339), tick_id (of the caller's prices), ttl_seconds, worker (that runs it)
-- reply   {"ok", run_id, holdings, version, total_value, other attached worker ...}, the first four as JSON text
--         {"missing"}, {"wrong_type"}
-- fence   none: the newest start wins, and with it every later write of an older run is refused. Sent twice,
--         it skips a run_id and does no other harm
-- include prelude.lua

local key, ticker, now, tick_id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local ttl, worker = ARGV[4], ARGV[5]

local reply, status = read(key, '$.run_counter', '$.holdings', '$.version', '$.total_value', '$.attached')
if status then return {status} end

local counter, holdings = whole(reply, '$.run_counter'), field(reply, '$.holdings')
local version, total = whole(reply, '$.version'), number(reply, '$.total_value')
if not (counter and holdings and version and total) then return {'wrong_type'} end

local run_id = integer(counter + 1)
local current = '{"ticker":' .. quoted(ticker) .. ',"started_at":' .. quoted(now) .. ',"run_id":' .. run_id
  .. ',"version":' .. version .. ',"tick_id":' .. tick_id .. ',"recorded":0,"worker":' .. quoted(worker) .. '}'
redis.call('JSON.MSET',
  key, '$.run_counter', run_id,
  key, '$.current_analysis', current,
  key, '$.last_activity', quoted(now))
redis.call('EXPIRE', key, ttl)
return with_others({'ok', run_id, holdings, version, total}, reply, worker)
