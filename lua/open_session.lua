-- open_session: creates the session's document if there is none, else refreshes it.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    document (JSON text of a new session; "" to create none), now (RFC 3339; "" if not for a client),
--         ttl_seconds, worker (to attach to the session; "" for none), incarnation (of the document; "" for any),
--         known (as for lift)
-- reply   {"created"}
--         {"missing"}: there is no document, and none was given; or it is another document
--         {"behind"}: it has fallen behind what is known, see lift; nothing changed
--         {"opened", holdings, version, total_value, valued, current_analysis, run_counter, incarnation,
--         run_ends, targets, other attached worker ...}, all but the incarnation and the workers as JSON text;
--         run_ends is "" if the document has none
--         {"unattached", ...}: as "opened", but the server is full and did not attach the worker; the session can
--         still be read
--         {"wrong_type"}: the key holds something else, which is left unchanged
-- fence   none: an existing document keeps all but its last_activity, time to live and attached workers
-- include prelude.lua

local key, document, now, ttl, worker = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local incarnation, known = ARGV[5], ARGV[6]

local reply, status = read(
  key, '$.holdings', '$.version', '$.total_value', '$.valued', '$.current_analysis', '$.attached',
  '$.run_counter', '$.incarnation', '$.run_ends', '$.targets')
if status == 'missing' and document ~= '' then
  redis.call('JSON.SET', key, '$', document)
  live_for(key, ttl)
  return {'created'}
end
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end

local holdings, version = field(reply, '$.holdings'), whole(reply, '$.version')
local total, valuation = total_of(reply), field(reply, '$.valued')
local current, attached = field(reply, '$.current_analysis'), field(reply, '$.attached')
local counter, own = whole(reply, '$.run_counter'), string.match(field(reply, '$.incarnation') or '', '"([^"]+)"')
local is_list = not attached or string.sub(attached, 1, 1) == '['
if not (holdings and version and total and valuation and current and counter and is_list) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end

-- A write that a full server may refuse; returns whether it was accepted.
local function taken(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return true end
  if string.find(answer.err, 'OOM', 1, true) then return false end
  redis.call(...) -- something else: let the error out
  return true
end

if now ~= '' then
  -- Must be first: a full server never refuses it, and after it accepts the other writes of this change.
  live_for(key, ttl)
  taken('JSON.SET', key, '$.last_activity', quoted(now))
end
local answer = 'opened'
if worker ~= '' and not attached then
  if not taken('JSON.SET', key, '$.attached', '[' .. quoted(worker) .. ']') then answer = 'unattached' end
elseif worker ~= '' and not string.find(attached, quoted(worker), 1, true) then
  if not taken('JSON.ARRAPPEND', key, '$.attached', quoted(worker)) then answer = 'unattached' end
end
return with_others(
  {answer, holdings, version, total, valuation, current, counter, own or '',
  field(reply, '$.run_ends') or '', targets_of(reply)}, reply, worker)
