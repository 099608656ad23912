-- open_session: creates the session's document if there is none, else refreshes it.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    document (JSON text of a new session; "" to create none), now (RFC 3339; "" where no client asks),
--         ttl_seconds, worker (is attached to the session; "" for none)
-- reply   {"created"}
--         {"missing"}: there is none, and none was given
--         {"opened", holdings, version, total_value, valued, current_analysis, other attached worker ...}, the
--         first five as JSON text
--         {"wrong_type"}: the key holds something else, which stays as it is
-- fence   none: an existing document keeps all but its last_activity, time to live and attached workers
-- include prelude.lua

local key, document, now, ttl, worker = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local reply, status = read(
  key, '$.holdings', '$.version', '$.total_value', '$.valued', '$.current_analysis', '$.attached')
if status == 'missing' and document ~= '' then
  redis.call('JSON.SET', key, '$', document)
  redis.call('EXPIRE', key, ttl)
  return {'created'}
end
if status then return {status} end

local holdings, version = field(reply, '$.holdings'), whole(reply, '$.version')
local total, valuation = number(reply, '$.total_value'), field(reply, '$.valued')
local current, attached = field(reply, '$.current_analysis'), field(reply, '$.attached')
if not (holdings and version and total and valuation and current) then return {'wrong_type'} end

if now ~= '' then
  redis.call('JSON.SET', key, '$.last_activity', quoted(now))
  redis.call('EXPIRE', key, ttl)
end
if worker ~= '' and not attached then
  redis.call('JSON.SET', key, '$.attached', '[' .. quoted(worker) .. ']')
elseif worker ~= '' and not string.find(attached, quoted(worker), 1, true) then
  redis.call('JSON.ARRAPPEND', key, '$.attached', quoted(worker))
end
return with_others({'opened', holdings, version, total, valuation, current}, reply, worker)
