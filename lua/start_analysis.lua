-- start_analysis: assigns the next run_id and makes that run the current one. If the caller has computed results
-- from what the document still says, stores them with the start, and ends the run if none is missing.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    ticker, now (RFC 3339), tick_id (of the caller's prices), ttl_seconds, worker (that runs it),
--         incarnation (of the document; "" for any), token (of this start, made by the caller), known (as for
--         lift), ended (run_id of the caller's previous run, if the document may not know how it ended; "" for
--         none), how (it ended: members of an end, as JSON text), after (the run that must be the newest; "" for any)
--         and if results were computed before: run_id (in the results), version, holdings, targets (they were computed
--         from, as texts of an earlier reply), max_results, max_bytes, finish ("1": they are all the run's results),
--         errors (metrics without a result; used only with finish), result (JSON text) ...
-- reply   {"ok", run_id, holdings, version, total_value, replaced (run_id that was current; 0 if none was), targets,
--         taken ("1": the results were stored), other attached worker ...}, all but the workers as JSON
--         text; holdings and targets are "" if the results were stored
--         {"superseded", newest run_id, its end or ""}: the newest run is not `after`
--         {"missing"}: none, or another document; {"behind"}: it has fallen behind what is known, see lift;
--         {"wrong_type"}
-- fence   the incarnation and what is known. The newest start wins: after it every later write of an older
--         run is refused. Results are stored only if their run_id is the next one and version, holdings and
--         targets are exactly those they were computed from; otherwise the run starts without them. Sent twice
--         with one token, it starts once
-- ends    of the run that was current: superseded, unless another end was recorded before; its own, with finish
-- include prelude.lua
-- include checks.lua
-- include results.lua

local key, ticker, now, tick_id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local ttl, worker, incarnation, token, known = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local ended, how, after = ARGV[9], ARGV[10], ARGV[11]
local expected = {run_id = ARGV[12], version = ARGV[13], holdings = ARGV[14], targets = ARGV[15]}
local finish, errors, results = ARGV[18] == '1', ARGV[19], {unpack(ARGV, 20)}

local reply, status = read(
  key, '$.run_counter', '$.holdings', '$.version', '$.total_value', '$.attached', '$.incarnation',
  '$.current_analysis.run_id', '$.current_analysis.token', '$.current_analysis.recorded', '$.run_ends', '$.targets',
  '$.results_bytes')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end

local counter, holdings = whole(reply, '$.run_counter'), field(reply, '$.holdings')
local version, total, targets = whole(reply, '$.version'), total_of(reply), targets_of(reply)
if not (counter and holdings and version and total) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end

local replaced, ends = whole(reply, '$.current_analysis.run_id') or '0', field(reply, '$.run_ends')

local function started(run_id, instead_of)
  return with_others({'ok', run_id, holdings, version, total, instead_of, targets, '0'}, reply, worker)
end

local function taken(run_id, instead_of)
  return with_others({'ok', run_id, '', expected.version, total, instead_of, '', '1'}, reply, worker)
end

if token ~= '' and field(reply, '$.current_analysis.token') == quoted(token) then
  -- This is a repeated call: the document has the count of the results stored then.
  if #results > 0 and whole(reply, '$.current_analysis.recorded') == integer(#results) then return taken(replaced, '0') end
  return started(replaced, '0')
end
if token ~= '' and finish and string.find(end_of(ends, expected.run_id), quoted(token), 1, true) then
  return taken(expected.run_id, '0')
end

if after ~= '' and tonumber(after) ~= tonumber(counter) then
  return {'superseded', counter, end_of(ends, counter)}
end

-- Whether a text equals the one the caller has seen; some engines print spaces that the caller's text may lack.
local function says(text, seen) return text == seen or (string.gsub(text, '%s', '')) == seen end

local run_id = integer(counter + 1)
local takes = expected.run_id == run_id and expected.version == version
  and says(holdings, expected.holdings) and says(targets, expected.targets)
-- What the caller has seen, it has read; anything else it will read when the run has started.
if not takes and not (is_holdings(holdings) and is_targets(targets)) then return {'wrong_type'} end
local changes = {key, '$.run_counter', run_id, key, '$.last_activity', quoted(now)}
local function change(path, value)
  for _, part in ipairs({key, path, value}) do changes[#changes + 1] = part end
end

local changed = ends
if ended ~= '' and (tonumber(ended) == tonumber(replaced) or end_of(changed, ended) ~= '') then
  changed = with_end(changed, ended, how, true)
end
if replaced ~= '0' then changed = with_end(changed, replaced, cancelled('superseded'), false) end
if takes then
  local bytes = appended(key, reply, results, tonumber(ARGV[16]), tonumber(ARGV[17]))
  if not bytes then return {'wrong_type'} end
  change('$.results_bytes', integer(bytes))
end
if takes and finish then
  changed = with_end(changed, run_id, completed(#results, errors, token), true)
  change('$.current_analysis', 'null')
else
  change('$.current_analysis', '{"ticker":' .. quoted(ticker) .. ',"started_at":' .. quoted(now) .. ',"run_id":' .. run_id
    .. ',"version":' .. version .. ',"tick_id":' .. tick_id .. ',"recorded":' .. integer(takes and #results or 0)
    .. ',"worker":' .. quoted(worker) .. ',"token":' .. quoted(token) .. '}')
end
if changed ~= ends then change('$.run_ends', changed) end
redis.call('JSON.MSET', unpack(changes))
live_for(key, ttl)
if takes then return taken(run_id, replaced) end
return started(run_id, replaced)
