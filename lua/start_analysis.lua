-- start_analysis: hands out the next run_id and makes that run the current one.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    ticker, now (RFC 3339), tick_id (of the caller's prices), ttl_seconds, worker (that runs it),
--         incarnation (of the document; "" for any), token (of this start, made by the caller), known (as for
--         lift), ended (run_id of the caller's run before, if the document may not know how it ended; "" for
--         none), how (that was: members of an end, as JSON text), after (the run that must be the newest; "" for any)
-- reply   {"ok", run_id, holdings, version, total_value, replaced (run_id that was current; 0 for none), targets,
--         other attached worker ...}, all but the workers as JSON text
--         {"superseded", newest run_id, its end or ""}: it is not the run that must be
--         {"missing"}: or the document is another one; {"behind"}: it has less than is known, see lift;
--         {"wrong_type"}
-- fence   the incarnation and what is known. The newest start wins, and with it every later write of an older
--         run is refused. Sent twice with one token, it starts once
-- ends    of the run that was current: superseded, unless it had ended otherwise before
-- include prelude.lua

local key, ticker, now, tick_id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local ttl, worker, incarnation, token, known = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local ended, how, after = ARGV[9], ARGV[10], ARGV[11]

local reply, status = read(
  key, '$.run_counter', '$.holdings', '$.version', '$.total_value', '$.attached', '$.incarnation',
  '$.current_analysis.run_id', '$.current_analysis.token', '$.run_ends', '$.targets')
if status then return {status} end
if is_other(reply, incarnation) then return {'missing'} end

local counter, holdings = whole(reply, '$.run_counter'), field(reply, '$.holdings')
local version, total = whole(reply, '$.version'), number(reply, '$.total_value')
if not (counter and holdings and version and total) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end

local replaced = number(reply, '$.current_analysis.run_id') or '0'
if token ~= '' and field(reply, '$.current_analysis.token') == quoted(token) then
  return with_others({'ok', replaced, holdings, version, total, '0', targets_of(reply)}, reply, worker)
end

if after ~= '' and tonumber(after) ~= tonumber(counter) then
  return {'superseded', counter, end_of(field(reply, '$.run_ends'), counter)}
end

local run_id = integer(counter + 1)
local current = '{"ticker":' .. quoted(ticker) .. ',"started_at":' .. quoted(now) .. ',"run_id":' .. run_id
  .. ',"version":' .. version .. ',"tick_id":' .. tick_id .. ',"recorded":0,"worker":' .. quoted(worker)
  .. ',"token":' .. quoted(token) .. '}'
local changes = {
  key, '$.run_counter', run_id,
  key, '$.current_analysis', current,
  key, '$.last_activity', quoted(now)}

local before = field(reply, '$.run_ends')
local ends = before
if ended ~= '' and (tonumber(ended) == tonumber(replaced) or end_of(ends, ended) ~= '') then
  ends = with_end(ends, ended, how, true)
end
if replaced ~= '0' then ends = with_end(ends, replaced, cancelled('superseded'), false) end
if ends ~= before then
  for _, value in ipairs({key, '$.run_ends', ends}) do changes[#changes + 1] = value end
end
redis.call('JSON.MSET', unpack(changes))
live_for(key, ttl)
return with_others({'ok', run_id, holdings, version, total, replaced, targets_of(reply)}, reply, worker)
