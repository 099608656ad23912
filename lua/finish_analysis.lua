-- finish_analysis: clears current_analysis of a run that ended (cancelled, failed, disconnected).
-- KEYS[1] portfolio:{<session_id>}
-- ARGV    run_id, worker (that asks)
-- reply   {"ok", other attached worker ...}
--         {"superseded", current run_id}, {"not_running"}, {"missing"}, {"wrong_type"}: nothing changed
-- fence   current_analysis.run_id; neither the time to live nor last_activity is touched: that a client
--         went away is no activity of its
-- include prelude.lua

local key, run_id, worker = KEYS[1], tonumber(ARGV[1]), ARGV[2]

local reply, status = read(key, '$.run_counter', '$.current_analysis.run_id', '$.attached')
if status then return {status} end
if not whole(reply, '$.run_counter') then return {'wrong_type'} end

local current = whole(reply, '$.current_analysis.run_id')
if not current then return {'not_running'} end
if tonumber(current) ~= run_id then return {'superseded', current} end

redis.call('JSON.SET', key, '$.current_analysis', 'null')
return with_others({'ok'}, reply, worker)
