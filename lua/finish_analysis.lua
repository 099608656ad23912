-- finish_analysis: clears current_analysis of a run that ended (cancelled, failed, disconnected).
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    run_id ("" if only the token is known), worker (the caller), incarnation (of the document; "" for
--         any), token (of the run's start; may be "" if the run_id is known), how (it ended: members of an
--         end, as JSON text), own ("1" if the caller ran it: its end is recorded, even if the run is no
--         longer current and the document has another end for it; else "0")
-- reply   {"ok", run_id, ticker, end, other attached worker ...}
--         {"superseded", current run_id, end, other attached worker ...}, {"not_running", end, other ...}: end is
--         how this run ended, as JSON text, "" if the document does not say
--         {"wrong_type"}: nothing changed; {"missing"}: nothing changed, or it is another document
-- fence   current_analysis.run_id and its token, where given, and the incarnation. Neither the time to live
--         nor last_activity is touched: a client that disconnects is not active
-- include prelude.lua

local key, run_id, worker = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local incarnation, token, how, own = ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'

local reply, status = read(
  key, '$.run_counter', '$.current_analysis.run_id', '$.current_analysis.ticker', '$.current_analysis.token',
  '$.attached', '$.incarnation', '$.run_ends')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end
if not whole(reply, '$.run_counter') then return {'wrong_type'} end

local ends = field(reply, '$.run_ends')

-- How the run ended, which is no longer current.
local function ended()
  if not run_id then return '' end
  local known = end_of(ends, run_id)
  if not own or known == '' then return known end
  local changed = with_end(ends, run_id, how, true)
  if string.gsub(changed, '%s', '') ~= string.gsub(ends, '%s', '') then
    redis.call('JSON.SET', key, '$.run_ends', changed)
  end
  return end_of(changed, run_id)
end

local current = whole(reply, '$.current_analysis.run_id')
if not current then return with_others({'not_running', ended()}, reply, worker) end
local has_number = not run_id or tonumber(current) == run_id
-- A document that fell back may have assigned the number again.
local has_token = (run_id and token == '') or field(reply, '$.current_analysis.token') == quoted(token)
if not (has_number and has_token) then return with_others({'superseded', current, ended()}, reply, worker) end

local changed = with_end(ends, current, how, own)
redis.call('JSON.MSET', key, '$.current_analysis', 'null', key, '$.run_ends', changed)
local ticker = string.match(field(reply, '$.current_analysis.ticker') or '', '^"([%w.=^&/_:-]+)"$') or ''
return with_others({'ok', current, ticker, end_of(changed, current)}, reply, worker)
