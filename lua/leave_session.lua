-- leave_session: records that a worker no longer has a socket of the session.
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    worker
-- reply   {"ok"}, even if it was not attached; {"missing"}, {"wrong_type"}
-- fence   none; neither the time to live nor last_activity is touched
-- include prelude.lua

local key, worker = KEYS[1], ARGV[1]

local reply, status = read(key, '$.version', '$.attached')
if status then return {status} end
if not whole(reply, '$.version') then return {'wrong_type'} end
local attached = field(reply, '$.attached')
if attached and string.find(attached, quoted(worker), 1, true) then
  redis.call('JSON.SET', key, '$.attached', names(with_others({}, reply, worker)))
end
return {'ok'}
