-- set_holdings: replaces the holdings, with the total that the caller computed at its prices.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    expected version ("" for any), holdings (JSON text), total_value (JSON text), tick_id, as_of, now (RFC
--         3339), ttl_seconds, worker (the caller), incarnation (of the document; "" for any), known (as for lift)
-- reply   {"ok", version, current_analysis, targets, other attached worker ...}, the first three as JSON text
--         {"version", version}: the document has another version; {"missing"}: none, or another document;
--         {"behind"}: it has fallen behind what is known, see lift; {"wrong_type"}: nothing changed
-- fence   the incarnation, what is known, and the expected version, if one is given. A running analysis stays
--         current: its own fence refuses its later writes, because the version has changed
-- targets stay unchanged: a name that is no longer held may still have one
-- ends    of the current run: portfolio_changed, unless another end was recorded before
-- include prelude.lua
-- include checks.lua

local key, expected, holdings, total = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local tick_id, as_of, now, ttl, worker = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local incarnation, known = ARGV[9], ARGV[10]

local reply, status = read(
  key, '$.version', '$.current_analysis', '$.attached', '$.incarnation', '$.run_counter', '$.run_ends',
  '$.targets')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end
local held, current = whole(reply, '$.version'), field(reply, '$.current_analysis')
if not (held and current and whole(reply, '$.run_counter')) then return {'wrong_type'} end
if not (is_current(current) and is_targets(targets_of(reply))) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end
if expected ~= '' and tonumber(expected) ~= tonumber(held) then return {'version', held} end

local version = integer(held + 1)
local changes = {
  key, '$.holdings', holdings,
  key, '$.version', version,
  key, '$.total_value', total,
  key, '$.valued', valued(tick_id, as_of),
  key, '$.last_activity', quoted(now)}
end_current(changes, key, reply, current)
redis.call('JSON.MSET', unpack(changes))
live_for(key, ttl)
return with_others({'ok', version, current, targets_of(reply)}, reply, worker)
