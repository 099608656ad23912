-- record_results: appends results of the current run and keeps the newest max_results.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    run_id, version, recorded (results of this run stored before this call; "" where the caller does
--         not count), now (RFC 3339), ttl_seconds, max_results, finish ("1" clears current_analysis, else
--         "0"), worker, result (JSON text) ...
-- reply   {"ok", other attached worker ...}
--         {"repeated", other attached worker ...}: these results were stored by an earlier sending of this call; nothing changed
--         {"superseded", current run_id}, {"not_running"}, {"portfolio_changed", version},
--         {"out_of_step", recorded}, {"missing"}, {"wrong_type"}: nothing changed
-- fence   current_analysis.run_id, the holdings' version and, where the caller counts, the number of results
--         already stored, current_analysis.recorded: with it the call is safe to send again
-- include prelude.lua

local key = KEYS[1]
local run_id, version, expected = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now, ttl, max_results, finish = ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1'
local worker, FIRST = ARGV[8], 9
local count = #ARGV - FIRST + 1

-- After the call that finished a run its count is gone. But a run's results stand together, and at the end as
-- long as no later run has stored any: does the list end with as many of them as this call was to leave?
local function was_finished()
  local after = expected + count
  local length = redis.call('JSON.ARRLEN', key, '$.analysis_results')[1]
  if length < after then return false end
  local tail = '$.analysis_results[' .. integer(length - after) .. ':].run_id'
  for id in string.gmatch(redis.call('JSON.GET', key, tail), '[^%[%],%s]+') do
    if tonumber(id) ~= run_id then return false end
  end
  return true
end

-- Why the results may not be stored, as a reply; nil where they may.
local function refusal(held, current, recorded)
  if not current then
    return {finish and count > 0 and expected and was_finished() and 'repeated' or 'not_running'}
  end
  if tonumber(current) ~= run_id then return {'superseded', current} end
  if not finish and count > 0 and expected and tonumber(recorded) == expected + count then return {'repeated'} end
  if tonumber(held) ~= version then return {'portfolio_changed', held} end
  if expected and tonumber(recorded) ~= expected then return {'out_of_step', recorded} end
end

local reply, status = read(
  key, '$.version', '$.current_analysis.run_id', '$.current_analysis.recorded',
  '$.attached')
if status then return {status} end
local held, current = number(reply, '$.version'), number(reply, '$.current_analysis.run_id')
local recorded = number(reply, '$.current_analysis.recorded')
if not held or (current and not recorded) then return {'wrong_type'} end

local refused = refusal(held, current, recorded)
if refused then return refused[1] == 'repeated' and with_others(refused, reply, worker) or refused end

if count > 0 then
  local length = redis.call('JSON.ARRAPPEND', key, '$.analysis_results', unpack(ARGV, FIRST))[1]
  if length > max_results then
    redis.call('JSON.ARRTRIM', key, '$.analysis_results', integer(length - max_results), integer(length - 1))
  end
end
if finish then
  redis.call('JSON.MSET', key, '$.current_analysis', 'null', key, '$.last_activity', quoted(now))
else
  redis.call('JSON.MSET',
    key, '$.current_analysis.recorded', integer(recorded + count),
    key, '$.last_activity', quoted(now))
end
redis.call('EXPIRE', key, ttl)
return with_others({'ok'}, reply, worker)
