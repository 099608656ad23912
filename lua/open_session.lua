-- open_session: creates the session's document if there is none, else refreshes it.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    document (JSON text of a new session; "" to create none), now (RFC 3339), ttl_seconds
-- reply   {"created"}
--         {"missing"}: there is none, and none was given
--         {"opened", holdings, version, total_value, valued, current_analysis}, each as JSON text
--         {"wrong_type"}: the key holds something else, which stays as it is
-- fence   none: an existing document keeps all but its last_activity and time to live
-- include prelude.lua

local key, document, now, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local reply, status = read(
  key, '$.holdings', '$.version', '$.total_value', '$.valued', '$.current_analysis')
if status == 'missing' and document ~= '' then
  redis.call('JSON.SET', key, '$', document)
  redis.call('EXPIRE', key, ttl)
  return {'created'}
end
if status then return {status} end

local holdings, version = field(reply, '$.holdings'), number(reply, '$.version')
local total, valuation = number(reply, '$.total_value'), field(reply, '$.valued')
local current = field(reply, '$.current_analysis')
if not (holdings and version and total and valuation and current) then return {'wrong_type'} end

redis.call('JSON.SET', key, '$.last_activity', quoted(now))
redis.call('EXPIRE', key, ttl)
return {'opened', holdings, version, total, valuation, current}
