-- record_results: appends results of the current run and keeps the newest, at most max_results and max_bytes of
-- them; the newest of all always stays.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    run_id, version, recorded (results of this run stored before this call; "" if the caller does not
--         count), now (RFC 3339), ttl_seconds, max_results, max_bytes, finish ("1" clears current_analysis, else
--         "0"), worker, incarnation (of the document; "" for any), token (of the run's start; "" for any),
--         errors (metrics of the run without a result; used only with finish), result (JSON text) ...
-- reply   {"ok", other attached worker ...}
--         {"repeated", other attached worker ...}: an earlier sending of this call stored these results;
--         nothing changed
--         {"superseded", current run_id, end}, {"not_running", end}: end is how this run ended, as JSON text, ""
--         if the document does not say; {"portfolio_changed", version},
--         {"out_of_step", recorded}, {"missing"}, {"wrong_type"}: nothing changed
--         {"behind"}: the document lacks the run, or results of it that were stored, see lift; nothing changed
-- fence   the incarnation (another document counts as missing), current_analysis.run_id
--         and token, the holdings' version and, if the caller counts, the number of results
--         already stored, current_analysis.recorded, which makes the call safe to send again
-- include prelude.lua
-- include results.lua

local key = KEYS[1]
local run_id, version, expected = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now, ttl, max_results, max_bytes = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local finish, worker, incarnation, token, errors, FIRST = ARGV[8] == '1', ARGV[9], ARGV[10], ARGV[11], ARGV[12], 13
local count = #ARGV - FIRST + 1

-- The call that finishes a run removes its count. But a run's results are adjacent, and at the end of the list as
-- long as no later run has stored any: so check that the list ends with as many of them as this call would leave.
local function ends_with_them()
  local after = expected + count
  local length = count_of(key) or 0
  if length < after then return false end
  local tail = '$.analysis_results[' .. integer(length - after) .. ':].run_id'
  for id in string.gmatch(redis.call('JSON.GET', key, tail), '[^%[%],%s]+') do
    if tonumber(id) ~= run_id then return false end
  end
  return true
end

-- Whether an earlier sending of this call stored the results; this can be known only if the caller counts.
local function is_stored(current, recorded, is_namesake, ended)
  if not expected then return false end
  if not finish then
    local is_own = tonumber(current) == run_id and not is_namesake
    return is_own and count > 0 and tonumber(recorded) == expected + count
  end
  -- The token distinguishes it from another run with this number, which a document that fell back may have had.
  if string.find(ended, '"completed"', 1, true) and string.find(ended, quoted(token), 1, true) then return true end
  return not current and ended == '' and count > 0 and ends_with_them()
end

-- Why the results may not be stored, as a reply; nil if they may.
local function refusal(held, current, recorded, is_namesake, ended)
  if not current then return {'not_running', ended} end
  if tonumber(current) ~= run_id or is_namesake then return {'superseded', current, ended} end
  if tonumber(held) ~= version then return {'portfolio_changed', held} end
  if expected and tonumber(recorded) ~= expected then return {'out_of_step', recorded} end
end

local reply, status = read(
  key, '$.version', '$.current_analysis.run_id', '$.current_analysis.recorded',
  '$.results_bytes', '$.attached', '$.incarnation', '$.run_counter', '$.current_analysis.token',
  '$.run_ends')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end
local held, current = whole(reply, '$.version'), whole(reply, '$.current_analysis.run_id')
local recorded = whole(reply, '$.current_analysis.recorded')
if not held or (current and not recorded) then return {'wrong_type'} end
-- A document that fell back may have assigned the number again.
local is_namesake = token ~= '' and field(reply, '$.current_analysis.token') ~= quoted(token)
local lacks_run = tonumber(whole(reply, '$.run_counter') or run_id) < run_id
local lacks_results = expected and tonumber(current) == run_id and not is_namesake and tonumber(recorded) < expected
-- If the caller stated no incarnation, the document may be another one.
if incarnation ~= '' and (lacks_run or lacks_results) then return {'behind'} end
local ends = field(reply, '$.run_ends')
local ended = end_of(ends, run_id)
if is_stored(current, recorded, is_namesake, ended) then return with_others({'repeated'}, reply, worker) end
local refused = refusal(held, current, recorded, is_namesake, ended)
if refused then return refused end

local bytes = appended(key, reply, {unpack(ARGV, FIRST)}, max_results, max_bytes)
if not bytes then return {'wrong_type'} end
if finish then
  redis.call('JSON.MSET',
    key, '$.current_analysis', 'null',
    key, '$.run_ends', with_end(ends, run_id, completed(recorded + count, errors, token), true),
    key, '$.results_bytes', integer(bytes),
    key, '$.last_activity', quoted(now))
else
  redis.call('JSON.MSET',
    key, '$.current_analysis.recorded', integer(recorded + count),
    key, '$.results_bytes', integer(bytes),
    key, '$.last_activity', quoted(now))
end
live_for(key, ttl)
return with_others({'ok'}, reply, worker)
