-- set_targets: stores the owner's targets; the holdings stay unchanged.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    expected version ("" for any), targets (JSON text; "null" for none), now (RFC 3339), ttl_seconds, worker
--         (the caller), incarnation (of the document; "" for any), known (as for lift)
-- reply   {"ok", holdings, version, total_value, valued, current_analysis, other attached worker ...}, the first five
--         as JSON text
--         {"version", version}: the document has another version; {"missing"}: none, or another document;
--         {"behind"}: it has fallen behind what is known, see lift; {"wrong_type"}: nothing changed
-- fence   the incarnation, what is known, and the expected version, if one is given. The version rises because two
--         metrics depend on the targets: a running analysis stays current, and its own fence refuses its
--         later writes
-- ends    of the current run: portfolio_changed, unless another end was recorded before
-- include prelude.lua
-- include checks.lua

local key, expected, targets, now, ttl, worker = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local incarnation, known = ARGV[6], ARGV[7]

local reply, status = read(
  key, '$.holdings', '$.version', '$.total_value', '$.valued', '$.current_analysis', '$.attached', '$.incarnation',
  '$.run_counter', '$.run_ends')
if status then return {status} end
status = other(reply, incarnation)
if status then return {status} end
local holdings, held = field(reply, '$.holdings'), whole(reply, '$.version')
local total, valuation = total_of(reply), field(reply, '$.valued')
local current = field(reply, '$.current_analysis')
local counter = whole(reply, '$.run_counter')
if not (holdings and held and total and valuation and current and counter) then return {'wrong_type'} end
if not (is_holdings(holdings) and is_valued(valuation) and is_current(current)) then return {'wrong_type'} end
if is_behind(reply, known) then return {'behind'} end
if expected ~= '' and tonumber(expected) ~= tonumber(held) then return {'version', held} end

local version = integer(held + 1)
local changes = {
  key, '$.targets', targets,
  key, '$.version', version,
  key, '$.last_activity', quoted(now)}
end_current(changes, key, reply, current)
redis.call('JSON.MSET', unpack(changes))
live_for(key, ttl)
return with_others({'ok', holdings, version, total, valuation, current}, reply, worker)
