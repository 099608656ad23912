-- lift: gives a document that has fallen back numbers that nobody has seen: its version rises above the known one, and
-- so will the next run_id. The holdings stay; to clients that saw the lost ones they are a change.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    known: "incarnation run_id version", the document and the highest numbers that the caller knows of it
-- reply   {"ok"}: done, now or before; {"missing"}: none, or another document; {"wrong_type"}
-- fence   the incarnation; and numbers never decrease. A current run below the known one was over before; any other
--         stays, and its own fence refuses what it writes. Neither the time to live nor last_activity is
--         touched
-- include prelude.lua

local key = KEYS[1]
local incarnation, run_id, seen = string.match(ARGV[1], '^(%S+) (%d+) (%d+)$')

local reply, status = read(key, '$.run_counter', '$.version', '$.current_analysis.run_id', '$.incarnation')
if status then return {status} end
local counter, version = tonumber(whole(reply, '$.run_counter')), tonumber(whole(reply, '$.version'))
if not (counter and version) then return {'wrong_type'} end
status = other(reply, incarnation)
if status then return {status} end
run_id, seen = tonumber(run_id), tonumber(seen)

local current = tonumber(whole(reply, '$.current_analysis.run_id'))
local changes = {
  key, '$.version', integer(math.max(version, seen + 1)),
  key, '$.run_counter', integer(math.max(counter, run_id)),
}
if current and current < run_id then
  for _, change in ipairs({key, '$.current_analysis', 'null'}) do changes[#changes + 1] = change end
end
redis.call('JSON.MSET', unpack(changes))
return {'ok'}
