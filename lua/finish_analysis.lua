-- finish_analysis: clears current_analysis of a run that ended (cancelled, failed, disconnected).
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    run_id ("" where only the token is known), worker (that asks), incarnation (of the document; "" for
--         any), token (of the run's start; may be "" where the run_id is known)
-- reply   {"ok", run_id, ticker, other attached worker ...}
--         {"superseded", current run_id}, {"not_running"}, {"wrong_type"}: nothing changed; {"missing"}: neither,
--         or the document is another one
-- fence   current_analysis.run_id and its token, as far as given, and the incarnation; neither the time to live nor last_activity is touched: that a client
--         went away is no activity of its
-- include prelude.lua

local key, run_id, worker = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local incarnation, token = ARGV[3], ARGV[4]

local reply, status = read(
  key, '$.run_counter', '$.current_analysis.run_id', '$.current_analysis.ticker', '$.current_analysis.token',
  '$.attached', '$.incarnation')
if status then return {status} end
if is_other(reply, incarnation) then return {'missing'} end
if not whole(reply, '$.run_counter') then return {'wrong_type'} end

local current = whole(reply, '$.current_analysis.run_id')
if not current then return {'not_running'} end
local has_number = not run_id or tonumber(current) == run_id
-- A document that fell back may have handed out the number once more.
local has_token = run_id and token == '' or field(reply, '$.current_analysis.token') == quoted(token)
if not (has_number and has_token) then return {'superseded', current} end

redis.call('JSON.SET', key, '$.current_analysis', 'null')
return with_others({'ok', current, string.sub(field(reply, '$.current_analysis.ticker') or '""', 2, -2)}, reply, worker)
